//! What a subject takes in the store.

use super::*;
use crate::server::Redis;

#[test]
fn a_subject_with_one_entry_takes_less_than_250_bytes() {
    let Some(server) = Redis::start() else {
        return;
    };
    let mut redis = server.connection();
    // As long as the names of the gate's keys.
    let name = |subject: usize| format!("wacht:limit:{subject:032x}:{{0}}");
    for kind in [Kind::Gcra, Kind::Sliding] {
        redis::cmd("FLUSHALL").exec(&mut redis).unwrap();
        let before = used_memory(&mut redis);
        const SUBJECTS: usize = 20_000;
        for subject in 0..SUBJECTS {
            let counter = Counter::new(kind, name(subject), 100, 60 * SECOND);
            counter.ask_now(&mut redis, units(1, 1));
        }
        let each = (used_memory(&mut redis) - before) / i64::try_from(SUBJECTS).unwrap();
        println!("{kind:?}: {each} bytes a subject");
        assert!(each <= 250, "{kind:?}: {each}");
    }
}

#[test]
fn a_log_does_not_grow_beyond_64_entries() {
    let Some(server) = Redis::start() else {
        return;
    };
    let mut redis = server.connection();
    for max in [64, 10_000] {
        let counter = Counter::new(Kind::Sliding, format!("log {max}"), max, 60 * SECOND);
        for step in 0..2_000 {
            let told = Ask {
                told: 1,
                ..units(1, 1)
            };
            counter.ask(&mut redis, told, 1_800_000_000 * SECOND + step * 40_000);
            let length: usize = redis::cmd("STRLEN")
                .arg(format!("log {max}"))
                .query(&mut redis)
                .unwrap();
            assert!(length <= 32 + 64 * 12, "{length}");
        }
    }
}

fn used_memory(redis: &mut Connection) -> i64 {
    let info: String = redis::cmd("INFO").arg("memory").query(redis).unwrap();
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix("used_memory:"));
    line.unwrap().trim().parse().unwrap()
}
