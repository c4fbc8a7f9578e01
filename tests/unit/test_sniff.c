/* SPDX-License-Identifier: MIT */
#include "api/sniff.h"

#include "base/macros.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BYTES(s) s, sizeof(s) - 1

struct sample {
    const char *bytes;
    size_t n;
    const char *want; /* a part of what it is called; NULL: may be a recording */
    bool part;        /* not the whole file */
};

static const struct sample samples[] = {
    /* Recordings. */
    {BYTES("RIFF\x24\0\0\0WAVEfmt "), NULL, false},
    {BYTES("RF64\xFF\xFF\xFF\xFFWAVEds64"), NULL, false},
    {BYTES("ID3\4\0\0\0\0\0\x23TSSE"), NULL, false},
    {BYTES("\xFF\xFB\x90\x64\0\0\0\0"), NULL, false},         /* mp3 without a tag */
    {BYTES("\xFF\xF1\x50\x80\x2E\x7F\xFC\x21"), NULL, false}, /* ADTS AAC */
    {BYTES("OggS\0\2\0\0\0\0\0\0"), NULL, false},
    {BYTES("fLaC\0\0\0\x22"), NULL, false},
    {BYTES("\0\0\0\x20"
           "ftypM4A \0\0\0\0"),
     NULL, false},
    {BYTES("\0\0\0\x18"
           "ftypmp42"),
     NULL, false},
    {BYTES("\0\0\0\x14"
           "ftypqt  "),
     NULL, false},
    {BYTES("\x1A\x45\xDF\xA3\x9F\x42\x86\x81"), NULL, false}, /* Matroska, WebM */
    {BYTES("#!AMR\nAAAAAAAAAAAAAAAA"), NULL, false},
    {BYTES("#!AMR-WB\n<<<<<<<<"), NULL, false},
    {BYTES(".snd\0\0\0\x18"), NULL, false},
    {BYTES("FORM\0\0\x10\0AIFFCOMM"), NULL, false},
    {BYTES("caff\0\1\0\0desc"), NULL, false},
    {BYTES("FLV\1\5\0\0\0\x09"), NULL, false},
    {BYTES("0&\xB2u\x8E\x66\xCF\x11"), NULL, false},    /* ASF, WMA */
    {BYTES("\x0B\x77\x1C\x2A"), NULL, false},           /* AC-3 */
    {BYTES("\x47\x40\0\x10\0\0\xB0\x0D"), NULL, false}, /* MPEG transport stream */
    {BYTES("RIFF\0\0\0\0AVI LIST"), NULL, false},
    /* What nobody can know. */
    {BYTES(""), NULL, false},
    {BYTES("\0\0\0\0\0\0\0\0\0\0\0\0"), NULL, false},
    {BYTES("Gr\xFC\xDF"
           "e, in Latin-1"),
     NULL, false},
    {BYTES("abc\0def"), NULL, false},
    {BYTES("MZ but no program header behind it ..........................................\1"), NULL, false},
    {BYTES("\xCA\xFE\xBA\xBE\x91\x12\x34"), NULL, false},
    /* Text of all kinds. */
    {BYTES("a"), "text", false},
    {BYTES("Hello, this is no recording.\r\n"), "text", false},
    {BYTES("Gr\xC3\xBC\xC3\x9F"
           "e in UTF-8 \xE2\x82\xAC\n"),
     "text", false},
    {BYTES("cut in a character \xE2\x82"), "text", true},
    {BYTES("cut in a character \xE2\x82"), NULL, false},
    {BYTES("\xEF\xBB\xBFtext with a mark"), "text", false},
    {BYTES("\xFF\xFEh\0e\0l\0l\0o\0"), "text", false},
    {BYTES("\xFE\xFF\0h\0e\0l\0l\0o"), "text", false},
    {BYTES(" \n{\"a\": 1}"), "JSON", false},
    {BYTES("[1,2]"), "JSON", false},
    {BYTES("<?xml version=\"1.0\"?>"), "XML", false},
    {BYTES("<!DOCTYPE html>"), "HTML", false},
    {BYTES("#EXTM3U\n#EXT-X-VERSION:3\n"), "playlist", false},
    {BYTES("\xEF\xBB\xBF#EXTM3U\n"), "playlist", false},
    {BYTES("ffconcat version 1.0\nfile /etc/passwd\n"), "ffconcat", false},
    {BYTES("[playlist]\nFile1=x\n"), "playlist", false},
    {BYTES("#!/bin/sh\nexit 0\n"), "script", false},
    {BYTES("WEBVTT\n\n00:01"), "subtitle", false},
    {BYTES("{\\rtf1\\ansi"), "RTF", false},
    /* Archives, documents, programs, pictures. */
    {BYTES("PK\3\4\x14\0\0\0"), "ZIP", false},
    {BYTES("PK\5\6\0\0\0\0"), "ZIP", false},
    {BYTES("\x1F\x8B\x08\0\0\0\0\0"), "gzip", false},
    {BYTES("BZh91AY&SY\0"), "bzip2", false},
    {BYTES("\xFD"
           "7zXZ\0\0\4"),
     "xz", false},
    {BYTES("7z\xBC\xAF\x27\x1C\0\4"), "7-Zip", false},
    {BYTES("Rar!\x1A\x07\1\0"), "RAR", false},
    {BYTES("\x28\xB5\x2F\xFD\4\0"), "Zstandard", false},
    {BYTES("%PDF-1.7\n%\xE2\xE3"), "PDF", false},
    {BYTES("\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1\0\0"), "Office", false},
    {BYTES("SQLite format 3\0\x10\0"), "SQLite", false},
    {BYTES("\x7F"
           "ELF\2\1\1\0"),
     "ELF", false},
    {BYTES("\xCF\xFA\xED\xFE\7\0\0\1"), "Mach-O", false},
    {BYTES("\0asm\1\0\0\0"), "WebAssembly", false},
    {BYTES("\x89PNG\r\n\x1A\n\0\0"), "PNG", false},
    {BYTES("\xFF\xD8\xFF\xE0\0\x10JFIF"), "JPEG", false},
    {BYTES("GIF89a\1\0\1\0"), "GIF", false},
    {BYTES("RIFF\x24\0\0\0WEBPVP8 "), "WebP", false},
    {BYTES("\0\0\0\x1C"
           "ftypheic\0\0"),
     "HEIC", false},
    {BYTES("\0\0\0\x1C"
           "ftypavif\0\0"),
     "AVIF", false},
    {BYTES("II*\0\x08\0\0\0"), "TIFF", false},
    {BYTES("BM\x36\x10\x0E\0\0\0\0\0\x36\0"), "BMP", false},
};

static void test_samples(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
        const struct sample *s = &samples[i];
        char *copy = malloc(s->n + !s->n); /* exact, so that a sanitizer sees reads beyond */
        memcpy(copy, s->bytes, s->n);
        const char *got = sniff_refuse(copy, s->n, !s->part);
        free(copy);
        if (s->want ? !got || !strstr(got, s->want) : got != NULL)
            fail_msg("sample %zu: '%s', not '%s'", i, got ? got : "a recording", s->want ? s->want : "a recording");
    }
}

static void test_what_stands_further_in(void **state)
{
    (void)state;
    unsigned char head[SNIFF_BYTES] = {1};
    memcpy(head + 257, "ustar", 5);
    assert_non_null(strstr(sniff_refuse(head, sizeof head, false), "tar"));
    assert_null(sniff_refuse(head, 260, true));
    memset(head, 1, sizeof head);
    memcpy(head, "MZ", 2);
    memcpy(head + 60, "\x80\0\0\0PE", 4);
    memcpy(head + 128, "PE\0\0", 4);
    assert_non_null(strstr(sniff_refuse(head, sizeof head, false), "Windows"));
    assert_null(sniff_refuse(head, 130, true));
    memcpy(head + 60, "\xFF\xFF\xFF\xFF", 4);
    assert_null(sniff_refuse(head, sizeof head, false));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples),
        cmocka_unit_test(test_what_stands_further_in),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
