/*
 * The Redis Functions library "hoody_ai": the text of
 * redis-schema/hoody_ai.lua, which the Makefile puts into the programs.
 */

#ifndef HAI_REGISTRY_LIBRARY_H
#define HAI_REGISTRY_LIBRARY_H

#define HAI_REGISTRY_LIBRARY_NAME "hoody_ai"

extern const char hai_registry_library[];

#endif
