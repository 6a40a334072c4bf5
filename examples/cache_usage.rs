//! The three kinds of cache, used alike.
//!
//! `cargo run --example cache_usage` runs with the Local cache alone; with `REDIS_URL` set
//! (`REDIS_URL=redis://localhost:6379`) it also runs with Redis and with the Hybrid of both.

use std::time::Duration;

use lighter_cache::{
    AnyCache, Cache, CacheKey, HybridCache, LocalCache, RedisCache, Result, Ttl, config::Config,
};
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct User {
    id: u64,
    name: String,
    permissions: Vec<String>,
}

/// What a program does with a cache. It is the same for every kind.
async fn tour(title: &str, cache: &impl Cache) -> Result<()> {
    let five_minutes = Duration::from_secs(300);
    let ada = User { id: 1, name: "Ada".into(), permissions: vec!["read".into(), "write".into()] };

    cache.set(CacheKey::user(ada.id), &ada, five_minutes).await?;
    let found: Option<User> = cache.get(CacheKey::user(1)).await?;
    assert_eq!(found.as_ref(), Some(&ada));

    cache.set(CacheKey::user_permissions(1), &ada.permissions, five_minutes).await?;
    cache.set(CacheKey::custom("motd", "today"), "be kind", Ttl::Never).await?;
    assert!(cache.exists("motd:today").await?);
    assert!(cache.delete("motd:today").await?);
    assert_eq!(cache.get::<String>("motd:today").await?, None);

    let stats = cache.stats().await?;
    println!(
        "{title:<7} {} hits, {} misses, hit rate {:.2}",
        stats.hits, stats.misses, stats.hit_rate
    );
    cache.clear().await
}

#[tokio::main]
async fn main() -> Result<()> {
    tour("Local", &LocalCache::with_shard_count(16)).await?;
    // Any kind, by its URL.
    tour("by URL", &AnyCache::open_async(&Config::parse("local:")?).await?).await?;

    let Ok(url) = std::env::var("REDIS_URL") else {
        println!("set REDIS_URL to see Redis and Hybrid as well");
        return Ok(());
    };
    let redis = RedisCache::new(&url, "cache_usage").await?;
    tour("Redis", &redis).await?;
    tour("Hybrid", &HybridCache::new(LocalCache::new(), Some(redis))).await?;
    tour("L1 only", &HybridCache::local_only()).await
}
