// What the tests of this layer share: samples and a directory of one's own.
#ifndef OCI_TEST_H
#define OCI_TEST_H

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "oci/spec.h"

// The structs of this layer own their strings; the tests lend them literals.
#define LENT(literal) ((char *)(literal))

// A container's config.json in the form that containerd's CRI plugin writes it for a pod without a
// process, with fields added that a lossy reader would drop.
#define SAMPLE TEST_DATA "/unit/oci/data/cri-container.json"

static inline void read_sample(struct buf *text)
{
    buf_init(text, OCI_SPEC_MAX);
    cr_assert_eq(file_read_at(AT_FDCWD, SAMPLE, text), 0);
}

static inline json_object *parse_text(const char *text)
{
    struct error err = {0};
    json_object *spec = oci_spec_parse(text, strlen(text), &err);
    cr_assert_not_null(spec, "%s", err.text);
    return spec;
}

static inline json_object *parse_sample(void)
{
    struct buf text;
    read_sample(&text);
    json_object *spec = parse_text(buf_cstr(&text));
    buf_free(&text);
    return spec;
}

static inline void make_dir(char path[64])
{
    snprintf(path, 64, "/tmp/oci-test-XXXXXX");
    cr_assert_not_null(mkdtemp(path));
}

static inline void remove_dir(const char *path)
{
    cr_assert_eq(file_remove_tree_at(AT_FDCWD, path), 0);
}

static inline void write_file(const char *dir, const char *name, const char *text, mode_t mode)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    cr_assert_not_null(f);
    cr_assert_geq(fputs(text, f), 0);
    cr_assert_eq(fclose(f), 0);
    cr_assert_eq(chmod(path, mode), 0);
}

#endif
