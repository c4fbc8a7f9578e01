/* SPDX-License-Identifier: MIT */
/* As what a recording is given out. */
#ifndef API_MEDIA_TYPE_H
#define API_MEDIA_TYPE_H

/*
 * What its client called it, `type`, when that is audio or video; else by the ending of its name; else bytes of any
 * kind. Never a type that a browser would run or show as a page, whatever the client said. Both may be NULL.
 */
const char *media_type(const char *type, const char *filename);

#endif
