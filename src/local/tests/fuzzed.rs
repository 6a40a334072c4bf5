//! The body of the fuzz target `operations`, on seeded random input; and the store as it is afterwards.

#[path = "../../../tests/support/fuzzer.rs"]
mod fuzzer;
#[path = "../../../fuzz/bodies/operations.rs"]
mod operations;

#[test]
fn operations_answer_as_a_map_does() {
    // Of each sort of cache, one input that does a bit of everything.
    let corpus: Vec<Vec<u8>> = (0..8)
        .map(|how| {
            let mut random = fuzzer::Random::of(how);
            let bytes = random.bytes(400);
            [&[how as u8], &bytes[..]].concat()
        })
        .collect();
    fuzzer::run("operations", 4_000, 600, &corpus, |input| {
        if let Some(cache) = operations::run(input) {
            cache.0.store.validate();
        }
    });
}
