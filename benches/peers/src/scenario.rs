//! What is done with a subject: how many entities, how many clients, what changes.

use clap::Args;

/// Most entities and clients of a custom scenario; more than this machine's memory would hold for
/// some subject.
const MAX_ENTITIES: usize = 1_000_000;
const MAX_CLIENTS: usize = 1_000;
const MAX_TICKS: usize = 100_000;

/// What is special about a scenario.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Joined, warmed up, measured.
    Steady,
    /// The joining itself is measured.
    Join,
    /// Each client sees what is near the entity it follows.
    Interest,
    /// Datagrams are lost.
    Lossy,
}

/// One scenario.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) entities: usize,
    pub(crate) clients: usize,
    /// Percent of the entities that change in a tick.
    pub(crate) changed: f32,
    /// Ticks that are measured.
    pub(crate) ticks: usize,
}

/// The scenarios that have a name.
pub(crate) const NAMES: [&str; 8] = [
    "moving-10000x16",
    "tenth-10000x16",
    "moving-1000x1",
    "idle-100000x1",
    "idle-10000x16",
    "join-10000x16",
    "interest-10000x200",
    "lossy-10000x16",
];

/// The name of the scenario that the options below describe.
pub(crate) const CUSTOM: &str = "custom";

/// What `--scenario custom` is.
#[derive(Args, Clone, Debug)]
pub(crate) struct Custom {
    /// Entities of the custom scenario.
    #[arg(long, requires = "scenario")]
    pub(crate) entities: Option<usize>,
    /// Clients of the custom scenario.
    #[arg(long, requires = "scenario")]
    pub(crate) clients: Option<usize>,
    /// Percent of the entities that change in each tick of the custom scenario.
    #[arg(long, requires = "scenario", value_name = "PCT")]
    pub(crate) changed: Option<f32>,
}

impl Custom {
    /// Whether any of it was given.
    pub(crate) const fn is_given(&self) -> bool {
        self.entities.is_some() || self.clients.is_some() || self.changed.is_some()
    }
}

impl Scenario {
    /// Ticks before those that are measured.
    pub(crate) const WARM_UP: usize = 60;

    /// Share of datagrams that the lossy scenarios lose.
    pub(crate) const LOSS: f32 = 0.3;

    /// Finds a scenario by its name. `ticks` replaces its own number of ticks.
    pub(crate) fn find(name: &str, custom: &Custom, ticks: Option<usize>) -> Result<Self, String> {
        let (kind, entities, clients, changed, own_ticks) = match name {
            "moving-10000x16" => (Kind::Steady, 10_000, 16, 100.0, 100),
            "tenth-10000x16" => (Kind::Steady, 10_000, 16, 10.0, 100),
            "moving-1000x1" => (Kind::Steady, 1_000, 1, 100.0, 300),
            "idle-100000x1" => (Kind::Steady, 100_000, 1, 0.0, 300),
            "idle-10000x16" => (Kind::Steady, 10_000, 16, 0.0, 300),
            "join-10000x16" => (Kind::Join, 10_000, 16, 0.0, 1),
            "interest-10000x200" => (Kind::Interest, 10_000, 200, 100.0, 100),
            "lossy-10000x16" => (Kind::Lossy, 10_000, 16, 100.0, 200),
            CUSTOM => (
                Kind::Steady,
                custom.entities.unwrap_or(1_000),
                custom.clients.unwrap_or(1),
                custom.changed.unwrap_or(100.0),
                100,
            ),
            _ => {
                return Err(format!(
                    "there is no scenario \"{name}\"; there are {}, {CUSTOM}",
                    NAMES.join(", ")
                ));
            }
        };
        let scenario = Self {
            name: name.into(),
            kind,
            entities,
            clients,
            changed,
            ticks: ticks.unwrap_or(own_ticks),
        };
        scenario.check()?;
        Ok(scenario)
    }

    fn check(&self) -> Result<(), String> {
        let within = |what: &str, value: usize, max: usize| match value {
            0 => Err(format!("{what} must be at least 1")),
            _ if value > max => Err(format!("{what} is {value}, at most {max} are possible")),
            _ => Ok(()),
        };
        within("--entities", self.entities, MAX_ENTITIES)?;
        within("--clients", self.clients, MAX_CLIENTS)?;
        within("--ticks", self.ticks, MAX_TICKS)?;
        if (0.0..=100.0).contains(&self.changed) {
            return Ok(());
        }
        Err(format!(
            "--changed is {}, it must be a percentage from 0 to 100",
            self.changed
        ))
    }

    /// Entities that change in a tick.
    pub(crate) fn changes(&self) -> usize {
        (self.entities as f64 * f64::from(self.changed) / 100.0).round() as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Custom = Custom {
        entities: None,
        clients: None,
        changed: None,
    };

    #[test]
    fn every_name_is_found() {
        for name in NAMES {
            assert!(Scenario::find(name, &NONE, None).is_ok(), "{name}");
        }
        assert!(Scenario::find("mowing", &NONE, None).is_err());
    }

    #[test]
    fn nonsense_is_refused() {
        let custom = |entities, clients, changed| Custom {
            entities: Some(entities),
            clients: Some(clients),
            changed: Some(changed),
        };
        assert!(Scenario::find(CUSTOM, &custom(10, 1, 50.0), None).is_ok());
        for (nonsense, ticks) in [
            (custom(0, 1, 50.0), None),
            (custom(10, 0, 50.0), None),
            (custom(10, 1, -1.0), None),
            (custom(10, 1, f32::NAN), None),
            (custom(10, 1, 101.0), None),
            (custom(usize::MAX, 1, 1.0), None),
            (custom(10, 1, 1.0), Some(0)),
        ] {
            let found = Scenario::find(CUSTOM, &nonsense, ticks);
            assert!(found.is_err(), "{nonsense:?} {ticks:?}");
        }
    }
}
