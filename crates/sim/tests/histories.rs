//! Short histories, ended at every operation of the disk; longer ones are a step of the gate. `WARRENMQ_SIM_HISTORIES` makes them longer; `cargo xtask sim
//! --histories N` does the same optimised.

#[test]
fn every_short_history_survives_every_end() {
    let length = std::env::var("WARRENMQ_SIM_HISTORIES").ok().and_then(|text| text.parse().ok()).unwrap_or(2);
    match warrenmq_sim::histories::run(length) {
        Ok(runs) => assert!(runs > 500, "{runs} runs"),
        Err(error) => panic!("{error}"),
    }
}
