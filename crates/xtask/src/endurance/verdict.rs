//! What has to be flat at the end of a run, and how flat: like phases are compared, at rest and under load, inside of one life of the
//! broker and over its restarts.

use super::plan::Turn;
use super::results::{Cycle, Results};
use crate::flat::{Allowance, Flatness};

/// Processors in use while nobody is connected, at the most.
const CORES_AT_REST_MAX: f64 = 0.02;

/// A figure of a cycle that has to stay as it is.
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    value: fn(&Cycle) -> f64,
    pub(crate) allowance: Allowance,
}

pub(crate) const MIB: f64 = 1024.0 * 1024.0;

/// All of them.
pub(crate) const FIGURES: [Figure; 4] = [
    Figure {
        name: "memory at rest",
        unit: "MiB",
        value: |cycle| cycle.rest.resident / MIB,
        // An allocator keeps some of what was used last, and a queue has 4 MiB of its own.
        allowance: Allowance { part: 0.1, amount: 4.0 },
    },
    Figure {
        name: "descriptors at rest",
        unit: "",
        value: |cycle| cycle.rest.descriptors,
        allowance: Allowance { part: 0.0, amount: 2.0 },
    },
    Figure {
        name: "disk at rest",
        unit: "MiB",
        value: |cycle| cycle.rest.disk / MIB,
        // A segment more or less.
        allowance: Allowance { part: 0.1, amount: 4.0 },
    },
    Figure {
        name: "CPU time of a cycle",
        unit: "s",
        value: |cycle| cycle.cpu_s,
        // It depends on what else the machine does.
        allowance: Allowance { part: 0.5, amount: 1.0 },
    },
];

/// A comparison and what came of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) figure: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) compared: &'static str,
    pub(crate) flatness: Flatness,
}

/// All comparisons that the cycles of a run are enough for.
pub(crate) fn verdicts(results: &Results) -> Vec<Verdict> {
    let cycles = &results.cycles;
    let part = (results.planned / 3).max(1);
    let of_part = |index: usize| cycles.chunks(part).nth(index).unwrap_or_default();
    let middle = of_part(1);
    let mut verdicts = Vec::new();
    for figure in &FIGURES {
        let values = |cycles: &[Cycle]| cycles.iter().map(figure.value).collect::<Vec<_>>();
        let after = |turn| {
            let cycles: Vec<_> = middle.iter().filter(|cycle| cycle.turn == turn).cloned().collect();
            values(&cycles)
        };
        // The first cycle of a life fills what stays filled; it is the same in both parts.
        let life = |index| values(of_part(index).get(1..).unwrap_or_default());
        let allowance = figure.allowance;
        let compared = [
            ("first life: its first third, its last", Flatness::of_thirds(&life(0), allowance)),
            ("last life: its first third, its last", Flatness::of_thirds(&life(2), allowance)),
            ("first life, last life", Flatness::of(&values(of_part(0)), &values(of_part(2)), allowance)),
            ("after SIGTERM: first restarts, last", ends(&after(Turn::Stop), allowance)),
            ("after SIGKILL: first restarts, last", ends(&after(Turn::Kill), allowance)),
        ];
        verdicts.extend(compared.into_iter().filter_map(|(compared, flatness)| {
            Some(Verdict { figure: figure.name, unit: figure.unit, compared, flatness: flatness? })
        }));
    }
    verdicts.extend(at_rest(cycles));
    verdicts
}

/// What is wrong with a run; nothing when all is well.
pub(crate) fn complaints(results: &Results) -> Vec<String> {
    let mut complaints = results.failures.clone();
    if results.cycles.len() < results.planned {
        complaints.push(format!("{} of {} cycles", results.cycles.len(), results.planned));
    }
    let broken = verdicts(results).into_iter().filter(|verdict| !verdict.flatness.is_kept());
    complaints.extend(broken.map(|verdict| {
        let Flatness { early, late, bound } = verdict.flatness;
        format!(
            "not flat: {} ({}): {early:.2}, then {late:.2} {}, allowed {bound:.2}",
            verdict.figure, verdict.compared, verdict.unit
        )
    }));
    complaints
}

/// The first third of a few looks and the last, or the first one and the last.
fn ends(looks: &[f64], allowance: Allowance) -> Option<Flatness> {
    match looks {
        [first, .., last] if looks.len() < 3 => Flatness::of(&[*first], &[*last], allowance),
        _ => Flatness::of_thirds(looks, allowance),
    }
}

/// Nobody is there, so nothing is done.
fn at_rest(cycles: &[Cycle]) -> Option<Verdict> {
    let most = cycles.iter().map(|cycle| cycle.rest.cores).reduce(f64::max)?;
    let least = cycles.iter().map(|cycle| cycle.rest.cores).reduce(f64::min)?;
    let flatness = Flatness { early: least, late: most, bound: CORES_AT_REST_MAX };
    Some(Verdict { figure: "CPU at rest", unit: "cores", compared: "least, most of all rests", flatness })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endurance::crew::Work;
    use crate::endurance::plan::Plan;
    use crate::endurance::results::Rest;

    /// A run of an hour in which memory grows by `leak` octets in each cycle of a life, and by `forever` over restarts as well.
    fn run(leak: f64, forever: f64) -> Results {
        let turns = Plan::new(60.0).turns;
        let (mut resident, mut cycles) = (30.0 * MIB, Vec::new());
        for (index, &turn) in turns.iter().enumerate() {
            resident = if turn == Turn::None { resident + leak } else { 30.0 * MIB };
            // It goes up and down as well.
            let noise = (index * 7 % 5) as f64 * 0.4 * MIB;
            let resident = resident + noise + forever * index as f64;
            let rest = Rest { resident, descriptors: 20.0, disk: 8.0 * MIB, cores: 0.001 };
            let work = Work::default();
            cycles.push(Cycle { end_s: 0.0, turn, start_s: None, work, cpu_s: 20.0, rest });
        }
        Results { planned: turns.len(), cycles, ..Results::default() }
    }

    #[test]
    fn a_leak_is_found_where_it_is() {
        assert_eq!(complaints(&run(0.0, 0.0)), [""; 0]);
        assert_eq!(complaints(&run(0.2 * MIB, 0.0)), [""; 0], "what cannot be told from noise");
        let leaking = complaints(&run(2.0 * MIB, 0.0));
        assert_eq!(leaking.len(), 2, "{leaking:?}");
        assert!(leaking[0].contains("memory at rest (first life: "), "{leaking:?}");
        let forever = complaints(&run(0.0, 0.5 * MIB));
        assert!(forever.iter().any(|text| text.contains("(first life, last life)")), "{forever:?}");
    }

    #[test]
    fn other_figures() {
        let mut results = run(0.0, 0.0);
        for (index, cycle) in results.cycles.iter_mut().enumerate() {
            cycle.rest.descriptors += index as f64;
        }
        results.cycles[5].rest.cores = 0.3;
        let complaints = complaints(&results);
        assert!(complaints.iter().any(|text| text.contains("descriptors")), "{complaints:?}");
        assert!(complaints.iter().any(|text| text.contains("CPU at rest")), "{complaints:?}");
    }

    #[test]
    fn what_was_not_run_to_its_end() {
        let mut results = run(0.0, 0.0);
        results.cycles.truncate(10);
        results.failures.push("delayed: it said no".to_owned());
        assert_eq!(complaints(&results), ["delayed: it said no", "10 of 24 cycles"]);
    }
}
