// What a C++ program would use instead: oneTBB's concurrent_hash_map, and GLib's GHashTable under a mutex. Neither has a
// bound, a TTL or counters.
//
// Both are given the fastest form that they have: TBB is asked with a view of the key (no std::string per look-up), and
// GLib's values are GBytes, so that a pin is a reference and a copy can be made under the lock.
#include <cstring>
#include <string>
#include <string_view>

#include <glib.h>
#include <tbb/concurrent_hash_map.h>

#include "contender.h"

namespace {

// --- oneTBB

struct KeyCompare {
    using is_transparent = void;
    std::size_t hash(std::string_view key) const { return std::hash<std::string_view>{}(key); }
    bool equal(std::string_view a, std::string_view b) const { return a == b; }
};

class Tbb {
public:
    explicit Tbb(const bench_setup &) {}

    bool get_into(std::string_view key, const bench_work &work)
    {
        Map::const_accessor found;
        if (!map_.find(found, key) || found->second.size() != work.value_len)
            return false;
        std::memcpy(work.buf, found->second.data(), work.value_len);
        return true;
    }

    bool get(std::string_view key, const bench_work &work)
    {
        Map::const_accessor found;
        return map_.find(found, key) && found->second.size() == work.value_len;
    }

    void set(std::string_view key, const bench_work &work)
    {
        Map::accessor found;
        if (!map_.find(found, key))
            map_.insert(found, std::string(key));
        found->second.assign(reinterpret_cast<const char *>(work.value), work.value_len);
    }

private:
    using Map = tbb::concurrent_hash_map<std::string, std::string, KeyCompare>;
    Map map_;
};

// --- GLib

class Glib {
public:
    explicit Glib(const bench_setup &)
        : table_(g_hash_table_new_full(hash, equal, g_free, [](gpointer value) { g_bytes_unref(static_cast<GBytes *>(value)); }))
    {
        g_mutex_init(&mutex_);
    }

    ~Glib()
    {
        g_hash_table_destroy(table_);
        g_mutex_clear(&mutex_);
    }

    bool get_into(std::string_view key, const bench_work &work)
    {
        const View view{key.size(), key.data()};
        bool found = false;
        g_mutex_lock(&mutex_);
        if (auto *value = static_cast<GBytes *>(g_hash_table_lookup(table_, &view))) {
            gsize len = 0;
            const void *data = g_bytes_get_data(value, &len);
            if ((found = len == work.value_len))
                std::memcpy(work.buf, data, len);
        }
        g_mutex_unlock(&mutex_);
        return found;
    }

    bool get(std::string_view key, const bench_work &work)
    {
        const View view{key.size(), key.data()};
        g_mutex_lock(&mutex_);
        auto *value = static_cast<GBytes *>(g_hash_table_lookup(table_, &view));
        if (value)
            g_bytes_ref(value);
        g_mutex_unlock(&mutex_);
        const bool found = value && g_bytes_get_size(value) == work.value_len;
        if (value)
            g_bytes_unref(value);
        return found;
    }

    void set(std::string_view key, const bench_work &work)
    {
        auto *value = g_bytes_new(work.value, work.value_len);
        auto *owned = static_cast<View *>(g_malloc(sizeof(View) + key.size()));
        auto *bytes = reinterpret_cast<char *>(owned + 1);
        std::memcpy(bytes, key.data(), key.size());
        *owned = View{key.size(), bytes};
        g_mutex_lock(&mutex_);
        g_hash_table_insert(table_, owned, value);
        g_mutex_unlock(&mutex_);
    }

private:
    struct View {
        std::size_t len;
        const char *bytes;
    };

    // As g_bytes_hash.
    static guint hash(gconstpointer key)
    {
        const auto *view = static_cast<const View *>(key);
        guint32 sum = 5381;
        for (std::size_t i = 0; i < view->len; i++)
            sum = (sum << 5) + sum + static_cast<guint32>(static_cast<signed char>(view->bytes[i]));
        return sum;
    }

    static gboolean equal(gconstpointer a, gconstpointer b)
    {
        const auto *x = static_cast<const View *>(a), *y = static_cast<const View *>(b);
        return x->len == y->len && std::memcmp(x->bytes, y->bytes, x->len) == 0;
    }

    GMutex mutex_;
    GHashTable *table_;
};

// --- both

template <class Peer> std::size_t run(void *self, int op, const bench_work *work)
{
    auto &peer = *static_cast<Peer *>(self);
    std::size_t good = 0;
    unsigned turn = 0;
    const auto each = [&](auto &&body) {
        for (const bench_key *key = work->keys, *end = key + work->n; key < end; key++)
            good += body(std::string_view(reinterpret_cast<const char *>(key->bytes), key->len));
    };
    const auto set = [&](std::string_view key) {
        peer.set(key, *work);
        return true;
    };
    const auto get_into = [&](std::string_view key) { return peer.get_into(key, *work); };
    switch (op) {
    case BENCH_GET_INTO:
        each(get_into);
        break;
    case BENCH_GET:
        each([&](std::string_view key) { return peer.get(key, *work); });
        break;
    case BENCH_SET:
    case BENCH_SET_TTL:
        each(set);
        break;
    case BENCH_MISS:
        each([&](std::string_view key) { return !peer.get_into(key, *work); });
        break;
    case BENCH_MIX:
        each([&](std::string_view key) { return ++turn % 20 ? get_into(key) : set(key); });
        break;
    case BENCH_CHURN:
        each([&](std::string_view key) { return get_into(key) || (set(key), false); });
        break;
    default:
        break;
    }
    return good;
}

template <class Peer> constexpr bench_contender contender(const char *name)
{
    return {name, [](const bench_setup *setup) -> void * { return new Peer(*setup); }, run<Peer>,
            [](void *self) { delete static_cast<Peer *>(self); }};
}

constexpr bench_contender all[] = {contender<Tbb>("tbb"), contender<Glib>("glib")};

} // namespace

extern "C" const bench_contender *bench_find(const char *name)
{
    for (const auto &one : all)
        if (std::strcmp(one.name, name) == 0)
            return &one;
    return nullptr;
}
