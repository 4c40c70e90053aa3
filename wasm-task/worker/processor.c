#include "processor.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/auxv.h>
#if defined(__x86_64__) || defined(__i386__)
#include <sys/platform/x86.h>
#endif

#include <nettle/base16.h>
#include <nettle/sha2.h>

#include "base/cleanup.h"

// More than any C library knows today; of one that it does not know all is 0.
#define LEAVES 32

static void add(struct sha256_ctx *hash, uint64_t word)
{
    sha256_update(hash, sizeof(word), (const uint8_t *)&word);
}

#if defined(__x86_64__) || defined(__i386__)
// Sizes and numbers are told there, too: of the processor that was asked, of its cores, of an
// address, of what is saved of it.
static bool is_feature(unsigned leaf, unsigned reg)
{
    enum { EAX, EBX, ECX };
    return !(leaf == CPUID_INDEX_1 && reg == EBX) && !(leaf == CPUID_INDEX_D_ECX_1 && reg == EBX) &&
           !(leaf == CPUID_INDEX_80000008 && (reg == EAX || reg == ECX));
}

// From the C library, which has asked the processor already.
static void add_features(struct sha256_ctx *hash)
{
    for (unsigned leaf = 0; leaf < LEAVES; leaf++) {
        const struct cpuid_feature *f = __x86_get_cpuid_feature_leaf(leaf);
        for (unsigned reg = 0; reg < ARRAY_SIZE(f->cpuid_array); reg++) {
            if (is_feature(leaf, reg))
                add(hash, f->cpuid_array[reg]);
            add(hash, f->active_array[reg]);
        }
    }
}
#else
static void add_features(struct sha256_ctx *hash)
{
    add(hash, getauxval(AT_HWCAP));
    add(hash, getauxval(AT_HWCAP2));
}
#endif

void processor_name(char ret[PROCESSOR_NAME_SIZE])
{
    struct sha256_ctx hash;
    uint8_t digest[(PROCESSOR_NAME_SIZE - 1) / 2];
    sha256_init(&hash);
    add_features(&hash);
    sha256_digest(&hash, sizeof(digest), digest);
    base16_encode_update(ret, sizeof(digest), digest);
    ret[PROCESSOR_NAME_SIZE - 1] = '\0';
}
