/* SPDX-License-Identifier: MIT */
/*
 * Two tables of signatures: first what is audio or video (some of it looks like text), then what is not. What matches
 * neither and is nothing but readable UTF-8 is text. Weak signatures (two letters) are in neither table.
 */
#include "api/sniff.h"

#include "base/macros.h"
#include "base/str.h"

#include <string.h>

struct magic {
    size_t at, n;
    const char *bytes;
    const char *what;       /* NULL: a recording */
    size_t also_at, also_n; /* a second place that must match too; also_n 0: none */
    const char *also;
};

#define AT(at, bytes, what)                            \
    {                                                  \
        at, sizeof(bytes) - 1, bytes, what, 0, 0, NULL \
    }
#define BOTH(at, bytes, at2, bytes2, what)                                  \
    {                                                                       \
        at, sizeof(bytes) - 1, bytes, what, at2, sizeof(bytes2) - 1, bytes2 \
    }

static const struct magic table[] = {
    /* Containers that hold pictures as well as sound. */
    BOTH(0, "RIFF", 8, "WEBP", "a WebP picture"),
    BOTH(4, "ftyp", 8, "heic", "a HEIC picture"),
    BOTH(4, "ftyp", 8, "heix", "a HEIC picture"),
    BOTH(4, "ftyp", 8, "mif1", "a HEIF picture"),
    BOTH(4, "ftyp", 8, "avif", "an AVIF picture"),
    /* Recordings, also those that begin with readable text. */
    AT(0, "RIFF", NULL),
    AT(0, "RF64", NULL),
    AT(0, "RIFX", NULL),
    AT(0, "BW64", NULL),
    AT(0, "FORM", NULL),
    AT(0, "ID3", NULL),
    AT(0, "OggS", NULL),
    AT(0, "fLaC", NULL),
    AT(0, ".snd", NULL),
    AT(0, "caff", NULL),
    AT(0, "wvpk", NULL),
    AT(0, "MAC ", NULL),
    AT(0, "TTA1", NULL),
    AT(0, "MPCK", NULL),
    AT(0, "#!AMR", NULL),
    AT(0, "#!SILK", NULL),
    AT(0, "Creative Voice File", NULL),
    AT(0, "FLV", NULL),
    AT(4, "ftyp", NULL),
    AT(4, "moov", NULL),
    AT(4, "mdat", NULL),
    /* Scripts that make ffmpeg open other files: never a recording, and worth a clear word. */
    AT(0, "#EXTM3U", "a playlist (M3U or HLS)"),
    AT(0, "\xEF\xBB\xBF#EXTM3U", "a playlist (M3U or HLS)"),
    AT(0, "ffconcat version", "an ffconcat script"),
    AT(0, "[playlist]", "a playlist (PLS)"),
    AT(0, "<?xml", "an XML document"),
    AT(0, "<!DOCTYPE", "an HTML document"),
    AT(0, "<!doctype", "an HTML document"),
    AT(0, "<html", "an HTML document"),
    AT(0, "<HTML", "an HTML document"),
    AT(0, "#!/", "a script"),
    AT(0, "{\\rtf", "an RTF document"),
    AT(0, "%!PS", "a PostScript document"),
    AT(0, "WEBVTT", "a subtitle file"),
    /* Archives. */
    AT(0, "PK\3\4", "a ZIP archive (or a document kept in one)"),
    AT(0, "PK\5\6", "an empty ZIP archive"),
    AT(0, "PK\7\10", "a ZIP archive (or a document kept in one)"),
    AT(0, "\x1F\x8B\x08", "a gzip archive"),
    BOTH(0, "BZh", 4, "1AY&SY", "a bzip2 archive"),
    AT(0,
       "\xFD"
       "7zXZ\0",
       "an xz archive"),
    AT(0, "7z\xBC\xAF\x27\x1C", "a 7-Zip archive"),
    AT(0, "Rar!\x1A\x07", "a RAR archive"),
    AT(0, "\x28\xB5\x2F\xFD", "a Zstandard archive"),
    AT(0, "!<arch>\n", "an ar archive (or a Debian package)"),
    AT(0, "\xED\xAB\xEE\xDB", "an RPM package"),
    AT(0, "MSCF\0\0\0\0", "a Cabinet archive"),
    AT(257, "ustar", "a tar archive"),
    /* Documents and databases. */
    AT(0, "%PDF-", "a PDF document"),
    AT(0, "\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1", "a Microsoft Office document"),
    AT(0, "SQLite format 3\0", "an SQLite database"),
    AT(0, "wOFF", "a font"),
    AT(0, "wOF2", "a font"),
    AT(0, "OTTO\0", "a font"),
    /* Programs. */
    AT(0,
       "\x7F"
       "ELF",
       "a program (ELF)"),
    AT(0, "\xFE\xED\xFA\xCE", "a program (Mach-O)"),
    AT(0, "\xFE\xED\xFA\xCF", "a program (Mach-O)"),
    AT(0, "\xCE\xFA\xED\xFE", "a program (Mach-O)"),
    AT(0, "\xCF\xFA\xED\xFE", "a program (Mach-O)"),
    AT(0, "\xCA\xFE\xBA\xBE\0\0\0", "a program (Mach-O or Java)"),
    AT(0, "\0asm\1\0\0\0", "a program (WebAssembly)"),
    /* Pictures. */
    AT(0, "\x89PNG\r\n\x1A\n", "a PNG picture"),
    AT(0, "\xFF\xD8\xFF", "a JPEG picture"),
    AT(0, "GIF87a", "a GIF picture"),
    AT(0, "GIF89a", "a GIF picture"),
    AT(0, "II*\0", "a TIFF picture"),
    AT(0, "MM\0*", "a TIFF picture"),
    AT(0, "8BPS\0\1", "a Photoshop picture"),
    BOTH(0, "BM", 6, "\0\0\0\0", "a BMP picture"),
};

static bool match(const struct magic *m, const unsigned char *p, size_t n)
{
    if (n < m->at + m->n || memcmp(p + m->at, m->bytes, m->n) != 0)
        return false;
    return !m->also_n || (n >= m->also_at + m->also_n && memcmp(p + m->also_at, m->also, m->also_n) == 0);
}

/* "MZ" alone is two letters; the header it points to is a signature. */
static bool is_windows_program(const unsigned char *p, size_t n)
{
    if (n < 64 || p[0] != 'M' || p[1] != 'Z')
        return false;
    size_t at = p[60] | (size_t)p[61] << 8 | (size_t)p[62] << 16 | (size_t)p[63] << 24;
    return at <= n - 4 && memcmp(p + at, "PE\0\0", 4) == 0;
}

/* UTF-16 with a byte order mark and, as in any text of western scripts, a zero in every other byte. */
static bool is_utf16(const unsigned char *p, size_t n)
{
    if (n < 8 || !((p[0] == 0xFF && p[1] == 0xFE) || (p[0] == 0xFE && p[1] == 0xFF)))
        return false;
    size_t zero = p[0] == 0xFF ? 1 : 0;
    for (size_t i = 2; i + 1 < n; i += 2)
        if (p[i + zero] || !p[i + 1 - zero])
            return false;
    return true;
}

static bool is_utf8_text(const unsigned char *p, size_t n, bool whole)
{
    size_t len = whole ? n : utf8_floor((const char *)p, n);
    for (size_t i = 0; i < len; i++)
        if ((p[i] < 0x20 && !memchr("\t\n\r\f\x1B", p[i], 5)) || p[i] == 0x7F)
            return false;
    return utf8_valid((const char *)p, len);
}

const char *sniff_refuse(const void *head, size_t n, bool whole)
{
    const unsigned char *p = head;
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (match(&table[i], p, n))
            return table[i].what;
    if (is_windows_program(p, n))
        return "a program (Windows)";
    if (is_utf16(p, n) || (n && is_utf8_text(p, n, whole))) {
        size_t blank = 0;
        while (blank < n && memchr(" \t\r\n", p[blank], 4))
            blank++;
        return blank < n && (p[blank] == '{' || p[blank] == '[') ? "text (JSON, perhaps)" : "text";
    }
    return NULL;
}
