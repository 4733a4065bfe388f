//! What the peers of a run do.

use super::super::Side;
use super::world::{Item, Random};
use crate::limits;

/// How kind the world is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    /// Both peers end cleanly and take everything.
    Clear,
    /// Peers end in any way, but take everything until then, and no deadline passes.
    Calm,
    /// Anything.
    Rough,
}

/// How far a peer keeps the connection from ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    None,
    /// For the other's end.
    Waits,
    /// Never ends.
    Endless,
    /// Ends so that nothing is left to wait for, the other being endless.
    Cuts,
}

impl Rest {
    pub fn across(self) -> Rest {
        if self == Rest::Endless {
            Rest::Cuts
        } else {
            Rest::None
        }
    }
}

pub fn script(
    random: &mut Random,
    weather: Weather,
    side: Side,
    rest: Rest,
    capacity: usize,
) -> Vec<Item> {
    let client = side == Side::Client;
    let clear = weather == Weather::Clear;
    let mut script = Vec::new();
    let bytes_max = (capacity * 20).clamp(1, 1_000_000);
    for _ in 0..random.between(0, 8) {
        let count = if random.percent(10) {
            random.between(1, 40)
        } else {
            1
        };
        match random.below(100) {
            60..70 if client => {
                script.extend(vec![Item::Empty; count.min(if clear { 4 } else { 40 })])
            }
            70..75 if client => script.extend(vec![Item::Warning; if clear { 1 } else { count }]),
            75..90 if client => {
                let answer = random.percent(50);
                let count = if clear { count.min(2) } else { count };
                script.extend(vec![Item::KeyUpdate { answer }; count]);
            }
            _ => script.push(Item::Data(random.size(bytes_max))),
        }
    }
    if client && !clear && random.percent(10) {
        // Too little data in between to pay for these.
        script.extend(vec![Item::KeyUpdate { answer: true }; 36]);
    }
    if clear {
        let count = |item| script.iter().filter(|other| **other == item).count();
        let many = count(Item::Warning) > limits::WARNING_ALERTS_MAX as usize;
        assert!(!many);
    }
    if rest == Rest::Waits {
        script.push(Item::Await);
        script.push(Item::Data(random.size(bytes_max)));
    }
    let tail: &[&[Item]] = match (clear, client) {
        (false, true) if rest == Rest::Cuts => &[
            &[Item::CloseNotify, Item::Reset],
            &[Item::CloseNotify, Item::Fin, Item::Reset],
            &[Item::Reset],
            &[Item::Fatal, Item::Fin],
            &[Item::Garbage],
        ],
        (false, false) if rest == Rest::Cuts => &[&[Item::Fin, Item::Reset], &[Item::Reset]],
        (false, _) if rest == Rest::Endless => &[&[]],
        (true, true) => &[&[Item::CloseNotify], &[Item::CloseNotify, Item::Fin]],
        (true, false) => &[&[Item::Fin]],
        (false, true) => &[
            &[Item::CloseNotify],
            &[Item::CloseNotify, Item::Fin],
            &[Item::CloseNotify, Item::FinAndClose],
            &[Item::CloseNotify, Item::Reset],
            &[Item::CloseNotify, Item::Fin, Item::Reset],
            &[
                Item::CloseNotify,
                Item::KeyUpdate { answer: true },
                Item::Data(5),
                Item::Fin,
            ],
            &[Item::Fin],
            &[Item::Fin, Item::Reset],
            &[Item::FinAndClose],
            &[Item::Reset],
            &[Item::Fatal, Item::Fin],
            &[Item::Fatal, Item::Reset],
            &[Item::Garbage],
            &[Item::Garbage, Item::Fin],
            &[Item::Unexpected, Item::Data(1), Item::Garbage],
            &[
                Item::Unexpected,
                Item::KeyUpdate { answer: true },
                Item::Data(9),
                Item::CloseNotify,
            ],
        ],
        (false, false) => &[
            &[Item::Fin],
            &[Item::Fin, Item::Reset],
            &[Item::FinAndClose],
            &[Item::Reset],
        ],
    };
    script.extend(random.pick(tail));
    if weather == Weather::Rough && random.percent(25) {
        script.truncate(random.between(0, script.len()));
        script.push(random.pick(&[Item::Vanish, Item::Reset]));
    }
    script
}
