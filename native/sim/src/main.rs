//! Replays a run: `lockstep-sim KIND SEED [every] [sector=BYTES] [SABOTAGE]`.
//!
//! Kinds and sabotages are the names in [`Kind::ALL`] and [`Sabotage::ALL`]; `every` stops at every
//! I/O of a short workload instead of at ten random ones. The exit status is 1 if something was
//! promised and not kept. (What LMDB makes of a file that lies to it may also end the process.)
#![allow(clippy::print_stdout, reason = "it is what the program is for")]

use lockstep_sim::disk::World;
use lockstep_sim::run::{Kind, exhaust, run};
use lockstep_sim::sabotage::Sabotage;
use std::process::ExitCode;

const USAGE: &str = "usage: lockstep-sim KIND SEED [every] [sector=BYTES] [SABOTAGE]";
const STOPS: u64 = 10;

fn named<T: Copy>(list: &[(&str, T)], name: &str) -> Option<T> {
    list.iter()
        .find(|(known, _)| *known == name)
        .map(|(_, value)| *value)
}

fn number(text: &str) -> Option<u64> {
    text.strip_prefix("0x")
        .map_or_else(|| text.parse(), |hex| u64::from_str_radix(hex, 16))
        .ok()
}

fn parse(arguments: &[String]) -> Option<(Kind, u64, bool, World)> {
    let [kind, seed, rest @ ..] = arguments else {
        return None;
    };
    let mut world = World::default();
    let mut every = false;
    for word in rest {
        if word == "every" {
            every = true;
        } else if let Some(bytes) = word.strip_prefix("sector=") {
            world.sector_bytes = bytes.parse().ok().filter(|bytes| *bytes > 0)?;
        } else {
            world.sabotage = Some(named(&Sabotage::ALL, word)?);
        }
    }
    Some((named(&Kind::ALL, kind)?, number(seed)?, every, world))
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((kind, seed, every, world)) = parse(&arguments) else {
        println!("{USAGE}");
        return ExitCode::from(2);
    };
    let outcome = if every {
        exhaust(seed, kind, world)
    } else {
        run(seed, kind, STOPS, world)
    };
    println!("{outcome:?}");
    ExitCode::from(u8::from(outcome.violation.is_some()))
}
