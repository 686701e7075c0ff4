//! Fiscal devices as they stand in shops: points of sale on lines and sockets, device proxies, simulated real devices
//! and a cluster, each a process of its own, with the power, the cables and the clocks going wrong.
//!
//! | what | longer |
//! |---|---|
//! | `cuts` | `FISCUS_CUTS=5000`, another course with `FISCUS_SEED=7` |
//! | `many` | `FISCUS_DEVICE_SECONDS=600` |
//! | `noise` | `FISCUS_NOISE_MB=100` |

mod conversation;
mod cuts;
mod days;

#[path = "../../../device-proxy/tests/conversation/host.rs"]
mod host;
mod lane;
#[path = "../../../device-proxy/tests/conversation/line.rs"]
mod line;
mod many;
mod noise;
mod shop;
#[path = "../support/mod.rs"]
mod support;

/// A number of the environment, for longer runs.
fn wanted(name: &str, absent: u64) -> u64 {
    std::env::var(name).ok().map_or(absent, |text| text.parse().expect(name))
}
