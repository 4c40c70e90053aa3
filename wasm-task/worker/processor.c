#include "processor.h"

#include <stdint.h>
#include <stdio.h>
#include <sys/auxv.h>
#if defined(__x86_64__) || defined(__i386__)
#include <sys/platform/x86.h>
#endif

#include <nettle/sha2.h>

// More than any C library knows today; of one that it does not know all is 0.
#define LEAVES 32

static void add(struct sha256_ctx *hash, uint64_t word)
{
    sha256_update(hash, sizeof(word), (const uint8_t *)&word);
}

// From the C library, which has asked the processor already.
static void add_features(struct sha256_ctx *hash)
{
#if defined(__x86_64__) || defined(__i386__)
    const unsigned ebx = 1;
    for (unsigned leaf = 0; leaf < LEAVES; leaf++) {
        const struct cpuid_feature *f = __x86_get_cpuid_feature_leaf(leaf);
        for (unsigned i = 0; i < 4; i++) {
            // The number of the processor on which it was asked is there, too.
            if (leaf != CPUID_INDEX_1 || i != ebx)
                add(hash, f->cpuid_array[i]);
            add(hash, f->active_array[i]);
        }
    }
#else
    add(hash, getauxval(AT_HWCAP));
    add(hash, getauxval(AT_HWCAP2));
#endif
}

void processor_name(char ret[PROCESSOR_NAME_SIZE])
{
    struct sha256_ctx hash;
    uint8_t digest[(PROCESSOR_NAME_SIZE - 1) / 2];
    sha256_init(&hash);
    add_features(&hash);
    sha256_digest(&hash, sizeof(digest), digest);
    for (unsigned i = 0; i < sizeof(digest); i++)
        snprintf(ret + 2 * i, 3, "%02x", digest[i]);
}
