/* Finds the operation of a call and has it answered. */

#ifndef HAI_CONTROL_ROUTE_H
#define HAI_CONTROL_ROUTE_H

#include "call.h"

/* The call was read; afterwards it has its answer. */
void hai_route(struct hai_call *call);

#endif
