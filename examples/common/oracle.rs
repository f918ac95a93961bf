//! The verdict, from what nodes and clients really did. It knows nothing of the protocol.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use super::{measure::BotReport, report::Verdict};

/// A stretch of ticks in which one node simulated one entity under one term.
#[derive(Debug, Clone, PartialEq)]
struct Stretch {
    node: usize,
    term: u64,
    from: u32,
    /// The last tick.
    to: u32,
    /// Whether it was still going on when the log ended.
    open: bool,
}

/// All logs, taken together.
#[derive(Debug, Default)]
pub struct Evidence {
    stretches: BTreeMap<u64, Vec<Stretch>>,
    players: BTreeMap<u64, u64>,
    /// By player and term: inputs in the order in which they were applied.
    applied: BTreeMap<u64, BTreeMap<u64, Vec<u32>>>,
    /// By player and term: inputs that were in the state that the host began with.
    resumed: BTreeMap<u64, BTreeMap<u64, u32>>,
    /// By handover: frozen at (tick, nanoseconds).
    frozen: BTreeMap<String, (u32, u64)>,
    /// By handover: staged and claimed at (tick of the state, nanoseconds).
    claimed: BTreeMap<String, (u32, u64)>,
    /// Terms under which handovers were claimed.
    claims: BTreeSet<u64>,
    nodes: usize,
    last_tick: Vec<u32>,
}

impl Evidence {
    /// Reads one node's log. An unfinished last line, as a killed node leaves it, is not read.
    ///
    /// # Errors
    /// One line that names the file and the line.
    pub fn read(&mut self, path: &Path) -> Result<(), String> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        let node = self.nodes;
        self.nodes += 1;
        self.last_tick.push(0);
        let mut open: BTreeMap<u64, (u64, u32)> = BTreeMap::new();
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
        for (number, line) in whole.lines().enumerate() {
            self.line(node, line, &mut open)
                .ok_or_else(|| format!("{}:{}: `{line}`", path.display(), number + 1))?;
        }
        let end = self.last_tick[node];
        for (entity, (term, from)) in open {
            let stretch = Stretch {
                node,
                term,
                from,
                to: end,
                open: true,
            };
            self.stretches.entry(entity).or_default().push(stretch);
        }
        Ok(())
    }

    fn line(
        &mut self,
        node: usize,
        line: &str,
        open: &mut BTreeMap<u64, (u64, u32)>,
    ) -> Option<()> {
        let mut words = line.split(' ');
        let kind = words.next()?;
        let words: Vec<&str> = words.collect();
        let number = |at: usize| words.get(at)?.parse::<u64>().ok();
        match kind {
            "T" => self.last_tick[node] = number(0)? as u32,
            "P" => {
                self.players.insert(number(1)?, number(0)?);
            }
            "B" => {
                let (entity, term, tick) = (number(0)?, number(1)?, number(2)? as u32);
                if let Some((old, from)) = open.insert(entity, (term, tick)) {
                    self.close(node, entity, old, from, tick.saturating_sub(1));
                }
            }
            "E" => {
                let (entity, tick) = (number(0)?, number(1)? as u32);
                let (term, from) = open.remove(&entity)?;
                self.close(node, entity, term, from, tick);
            }
            "I" => {
                let (player, input, term) = (number(0)?, number(1)? as u32, number(2)?);
                self.applied
                    .entry(player)
                    .or_default()
                    .entry(term)
                    .or_default()
                    .push(input);
            }
            "K" => {
                let (player, term, input) = (number(0)?, number(1)?, number(2)? as u32);
                self.resumed.entry(player).or_default().insert(term, input);
            }
            "F" | "C" => {
                let entry = (number(1)? as u32, number(2)?);
                let handover = (*words.first()?).to_owned();
                if kind == "F" {
                    self.frozen.insert(handover, entry);
                } else {
                    self.claims.insert(number(3)?);
                    self.claimed.insert(handover, entry);
                }
            }
            _ => return None,
        }
        Some(())
    }

    /// Forgets what nodes did after the first of them ended: at the end of a run they are killed one
    /// after the other, and the last ones take over from the first. A node that was `killed` half
    /// way does not count.
    pub fn cut(&mut self, killed: Option<usize>) {
        let lasts = self
            .last_tick
            .iter()
            .enumerate()
            .filter(|(node, _)| Some(*node) != killed);
        let Some(end) = lasts.map(|(_, tick)| *tick).min() else {
            return;
        };
        for stretches in self.stretches.values_mut() {
            // One that was on its way when the run ended is where it arrived.
            let covered = stretches.iter().any(|s| s.from <= end && s.to >= end);
            stretches.retain(|s| s.from <= end || !covered);
            for stretch in stretches.iter_mut().filter(|s| s.to >= end) {
                stretch.to = stretch.to.min(end).max(stretch.from);
                stretch.open = true;
            }
        }
    }

    fn close(&mut self, node: usize, entity: u64, term: u64, from: u32, to: u32) {
        let stretch = Stretch {
            node,
            term,
            from,
            to,
            open: false,
        };
        self.stretches.entry(entity).or_default().push(stretch);
    }

    /// Players whose body a node simulated when its log ended.
    pub fn players_on(&self, node: usize) -> BTreeSet<u64> {
        self.players
            .iter()
            .filter(|(_, body)| {
                self.stretches.get(body).is_some_and(|all| {
                    all.iter()
                        .any(|stretch| stretch.node == node && stretch.open)
                })
            })
            .map(|(player, _)| *player)
            .collect()
    }

    /// Groups that one node froze and another claimed.
    pub fn handovers(&self) -> u64 {
        self.frozen
            .keys()
            .filter(|handover| self.claimed.contains_key(*handover))
            .count() as u64
    }

    /// Whether a handover was claimed under this term.
    pub fn is_claim(&self, term: u64) -> bool {
        self.claims.contains(&term)
    }

    /// Milliseconds from the end of the last tick on the source to the claim, and ticks that
    /// nobody simulated, for every handover that was claimed.
    pub fn frozen(&self) -> (Vec<f64>, Vec<f64>) {
        let mut millis = Vec::new();
        let mut ticks = Vec::new();
        for (handover, (tick, at)) in &self.frozen {
            let Some((_, claimed)) = self.claimed.get(handover) else {
                continue;
            };
            millis.push(claimed.saturating_sub(*at) as f64 / 1e6);
            let Some(root) = handover.split('/').next().and_then(parse_name) else {
                continue;
            };
            let next = self
                .stretches
                .get(&root)
                .and_then(|all| all.iter().map(|s| s.from).filter(|from| from > tick).min());
            if let Some(next) = next {
                ticks.push(f64::from(next - tick - 1));
            }
        }
        (millis, ticks)
    }

    /// Judges.
    ///
    /// `killed`: the node whose log ends early, if one was killed. `expected`: entities that there
    /// must be at the end.
    pub fn judge(
        &self,
        bots: &[BotReport],
        killed: Option<usize>,
        expected: &BTreeSet<u64>,
    ) -> Verdict {
        let mut verdict = Verdict::default();
        for bot in bots {
            let (lost, duplicated) = self.judge_inputs(bot);
            verdict.inputs_sent += u64::from(bot.inputs);
            verdict.lost_inputs += lost;
            verdict.duplicated_inputs += duplicated;
        }
        for stretches in self.stretches.values() {
            for (at, a) in stretches.iter().enumerate() {
                verdict.owner_conflicts += stretches[at + 1..]
                    .iter()
                    .filter(|b| a.node != b.node && a.from <= b.to && b.from <= a.to)
                    .count() as u64;
            }
        }
        let held = |entity: &u64| {
            self.stretches.get(entity).map_or(0, |all| {
                all.iter()
                    .filter(|s| s.open && Some(s.node) != killed)
                    .count()
            })
        };
        let bodies = self.players.values().copied().collect::<BTreeSet<u64>>();
        for entity in expected.union(&bodies) {
            match held(entity) {
                0 => verdict.entities_lost += 1,
                1 => {}
                more => verdict.entities_duplicated += more as u64 - 1,
            }
        }
        verdict
    }

    /// Inputs on the surviving history: what was applied under a term counts as far as the next
    /// host's state contained it. What a killed node did after that is void.
    fn judge_inputs(&self, bot: &BotReport) -> (u64, u64) {
        let none = BTreeMap::new();
        let applied = self.applied.get(&bot.player).unwrap_or(&none);
        let nothing = BTreeMap::new();
        let resumed = self.resumed.get(&bot.player).unwrap_or(&nothing);
        let terms: BTreeSet<u64> = applied.keys().chain(resumed.keys()).copied().collect();
        let mut history: Vec<u32> = Vec::new();
        for term in terms {
            if let Some(&contained) = resumed.get(&term) {
                history.retain(|input| *input <= contained);
            }
            history.extend(applied.get(&term).into_iter().flatten());
        }
        let mut seen = BTreeSet::new();
        let duplicated = history.iter().filter(|input| !seen.insert(**input)).count();
        let lost = (1..=bot.inputs)
            .filter(|input| !seen.contains(input))
            .count();
        (lost as u64, duplicated as u64)
    }
}

/// `g<block>.<counter>`, both in hexadecimal, as a number.
fn parse_name(name: &str) -> Option<u64> {
    let (block, counter) = name.strip_prefix('g')?.split_once('.')?;
    let block = u64::from_str_radix(block, 16).ok()?;
    Some((block << 40) | u64::from_str_radix(counter, 16).ok()?)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn evidence(logs: &[&str]) -> Evidence {
        static FILES: AtomicU32 = AtomicU32::new(0);
        let mut evidence = Evidence::default();
        for log in logs {
            let n = FILES.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("oracle-{}-{n}", std::process::id()));
            std::fs::write(&path, log).expect("a temporary file");
            evidence.read(&path).expect("a good log");
            std::fs::remove_file(&path).expect("it was there");
        }
        evidence
    }

    fn bot(inputs: u32) -> BotReport {
        BotReport {
            player: 7,
            inputs,
            ..BotReport::default()
        }
    }

    #[test]
    fn a_clean_handover_is_clean() {
        let logs = [
            "P 99 7\nB 99 1 10\nI 7 1 1\nT 10\nI 7 2 1\nT 11\nE 99 11\nT 12\n",
            "K 7 2 2\nB 99 2 12\nI 7 3 2\nT 12\n",
        ];
        let verdict = evidence(&logs).judge(&[bot(3)], None, &BTreeSet::from([99]));
        assert_eq!(
            verdict,
            Verdict {
                inputs_sent: 3,
                ..Verdict::default()
            }
        );
    }

    #[test]
    fn every_fault_is_found() {
        let logs = [
            "P 99 7\nB 99 1 10\nI 7 1 1\nI 7 1 1\nT 10\nT 13\n",
            "K 7 2 1\nB 99 2 12\nI 7 3 2\nT 14\n",
        ];
        let verdict = evidence(&logs).judge(&[bot(3)], None, &BTreeSet::from([99, 100]));
        assert_eq!((verdict.lost_inputs, verdict.duplicated_inputs), (1, 1));
        assert_eq!(verdict.owner_conflicts, 1);
        assert_eq!((verdict.entities_lost, verdict.entities_duplicated), (1, 1));
    }

    #[test]
    fn what_a_killed_node_did_after_the_recovered_state_is_void() {
        let logs = [
            "P 99 7\nB 99 1 10\nI 7 1 1\nI 7 2 1\nI 7 3 1\nT 10\nI 7 4 1",
            "K 7 2 1\nB 99 2 40\nI 7 2 2\nI 7 3 2\nI 7 4 2\nT 50\n",
        ];
        let verdict = evidence(&logs).judge(&[bot(4)], Some(0), &BTreeSet::from([99]));
        assert_eq!(
            verdict,
            Verdict {
                inputs_sent: 4,
                ..Verdict::default()
            }
        );
    }
}
