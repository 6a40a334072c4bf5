/* The library loaded and unloaded at run time, twenty times, with threads of the program that end afterwards
   and threads of the library that run on. */
#define _GNU_SOURCE

#include <lighter_cache.h>

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

/* Nothing of the library is linked: everything goes through dlsym. */
#define FUNCTION(name) static __typeof__(&name) name##_
FUNCTION(lc_open);
FUNCTION(lc_set);
FUNCTION(lc_exists);
FUNCTION(lc_close);
FUNCTION(lc_last_error);
#define LOOK_UP(name) *(void **)&name##_ = dlsym(library, #name)
#define MUST(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #condition); \
            exit(1); \
        } \
    } while (0)

static pthread_barrier_t unloaded;
static lc_cache cache, redis;

static void *use(void *key) {
    MUST(lc_set_(cache, key, 1, "v", 1, LCACHE_TTL_NONE) == LCACHE_OK);
    MUST(lc_exists_(cache, key, 1) == LCACHE_OK);
    MUST(lc_set_(redis, key, 1, "v", 1, 60000) == LCACHE_OK);
    MUST(lc_close_(4711) == LCACHE_EHANDLE && lc_last_error_()[0] != 0);
    pthread_barrier_wait(&unloaded); /* used */
    pthread_barrier_wait(&unloaded); /* unloaded */
    return NULL;
}

int main(void) {
    const char *file = getenv("LC_TEST_LIBRARY"), *server = getenv("LC_TEST_URL_SINGLE");
    MUST(file != NULL && server != NULL);
    char url[256];
    snprintf(url, sizeof url, "%s?prefix=c:loading&timeout=20s&connect_timeout=20s", server);
    MUST(dlopen(file, RTLD_NOW | RTLD_NOLOAD) == NULL);
    for (int round = 0; round < 20; round++) {
        void *library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
        if (!library)
            fprintf(stderr, "%s\n", dlerror());
        MUST(library != NULL);
        LOOK_UP(lc_open);
        LOOK_UP(lc_set);
        LOOK_UP(lc_exists);
        LOOK_UP(lc_close);
        LOOK_UP(lc_last_error);
        MUST(lc_open_ && lc_set_ && lc_exists_ && lc_close_ && lc_last_error_);
        MUST(lc_open_("local:", &cache) == LCACHE_OK && lc_open_(url, &redis) == LCACHE_OK);
        MUST(pthread_barrier_init(&unloaded, NULL, 3) == 0);
        pthread_t threads[2];
        MUST(pthread_create(&threads[0], NULL, use, "a") == 0);
        MUST(pthread_create(&threads[1], NULL, use, "b") == 0);
        pthread_barrier_wait(&unloaded);
        if (round % 2)
            MUST(lc_close_(cache) == LCACHE_OK && lc_close_(redis) == LCACHE_OK);
        MUST(dlclose(library) == 0);
        pthread_barrier_wait(&unloaded);
        MUST(pthread_join(threads[0], NULL) == 0 && pthread_join(threads[1], NULL) == 0);
        MUST(pthread_barrier_destroy(&unloaded) == 0);
    }
    return 0;
}
