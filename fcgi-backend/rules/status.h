/* What the engine tells about itself, for "hoody-ai rules status". */

#ifndef HAI_RULES_STATUS_H
#define HAI_RULES_STATUS_H

#include "buf.h"
#include "engine.h"

/* A JSON object. */
void hai_status_write(struct hai_engine *engine, struct hai_buf *b);

#endif
