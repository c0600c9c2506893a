/* Configuration of jansson for Linux with gcc or clang. */
#ifndef JANSSON_CONFIG_H
#define JANSSON_CONFIG_H

#define JANSSON_USING_CMAKE /* the integer type is set below */

#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
#define JSON_INLINE inline
#else
#define JSON_INLINE inline
#endif

#define json_int_t long long
#define json_strtoint strtoll
#define JSON_INTEGER_FORMAT "lld"
#define JSON_HAVE_LOCALECONV 1
#define JSON_HAVE_ATOMIC_BUILTINS 1
#define JSON_HAVE_SYNC_BUILTINS 1
#define JSON_PARSER_MAX_DEPTH 64

#endif
