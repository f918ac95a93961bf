//! What the panel shows, as plain data: nothing here knows a world, a link or a clock.

mod authority;
mod mesh;

use std::time::Duration;

use seamless_wire::{NodeRef, PeerId};

pub use authority::{AuthorityModel, FenceModel, RedirectModel};
pub use mesh::{
    CellModel, CrossingModel, GridModel, MeshCountersModel, MeshModel, NodeModel, RecentHandover,
    RootModel,
};

/// Everything that one panel shows. The default is an app that has just begun.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "bevy", derive(bevy::prelude::Resource))]
pub struct OverlayModel {
    /// What the app is: its node, its player, or just a server.
    pub name: String,
    /// Ticks, and what they take.
    pub clock: ClockModel,
    /// What goes over all links together.
    pub traffic: TrafficModel,
    /// What goes over each link, in the order of the links.
    pub links: Vec<LinkModel>,
    /// What each component costs, in the order of the schema.
    pub components: Vec<ComponentModel>,
    /// Entities on the network.
    pub entities: EntitiesModel,
    /// Who holds what can be lent.
    pub authority: AuthorityModel,
    /// The mesh, in an app that is a node of one.
    pub mesh: Option<MeshModel>,
}

impl OverlayModel {
    /// Goes on where a former model of the same app ended: takes its history of packets over and
    /// adds this model's second to it.
    pub fn follow(&mut self, before: &Self) {
        let Some(second) = self.clock.tick.checked_div(self.clock.rate.into()) else {
            return;
        };
        // The present second is replaced until it is over; so is what a clock set back repeats.
        let past = |at: &&PacketsAt| at.second < second;
        let history = &mut self.traffic.packet_history;
        history.clear();
        history.extend(before.traffic.packet_history.iter().filter(past));
        history.push(PacketsAt {
            second,
            packets: self.traffic.packets_per_second,
        });
        let over = history.len().saturating_sub(TrafficModel::HISTORY);
        history.drain(..over);
    }
}

/// One value for each direction, as this app sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Both<T> {
    /// From the others.
    pub received: T,
    /// To the others.
    pub sent: T,
}

impl<T> From<(T, T)> for Both<T> {
    fn from((received, sent): (T, T)) -> Self {
        Self { received, sent }
    }
}

/// Ticks, and what they take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockModel {
    /// The present tick.
    pub tick: u32,
    /// Ticks per second.
    pub rate: u16,
    /// How late the last tick began.
    pub lateness: Duration,
    /// What collect to pack took in the last tick.
    pub send: Duration,
    /// What receive and apply took in the last frame with datagrams.
    pub receive: Duration,
}

/// What goes over all links together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrafficModel {
    /// Bytes per second.
    pub bytes_per_second: Both<f64>,
    /// Packets per second.
    pub packets_per_second: Both<f64>,
    /// Bytes over the links that are there, since each began.
    pub bytes: Both<u64>,
    /// Bytes per second, one entry a second, the oldest first.
    pub history: Vec<Both<f64>>,
    /// Packets per second, for each second in which somebody looked, the oldest first.
    pub packet_history: Vec<PacketsAt>,
}

/// Packets per second at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PacketsAt {
    /// Whole seconds of the network's clock.
    pub second: u32,
    /// Packets per second.
    pub packets: Both<f64>,
}

impl TrafficModel {
    /// Seconds of packets that are kept.
    pub const HISTORY: usize = 120;
}

/// What a link is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LinkUse {
    /// Its handshake is not done.
    #[default]
    Greeting,
    /// A player plays over it.
    Playing,
    /// It only watches, before or after a handover.
    Watching,
    /// It is being closed.
    Ending,
}

impl LinkUse {
    /// One word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Greeting => "greeting",
            Self::Playing => "playing",
            Self::Watching => "watching",
            Self::Ending => "ending",
        }
    }
}

/// One link.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LinkModel {
    /// Its name in this app.
    pub name: String,
    /// The client at the other end, or on a client itself. `None` before the handshake.
    pub peer: Option<PeerId>,
    /// The node at the other end, on a client of a mesh.
    pub node: Option<NodeRef>,
    /// Whether the server is at the other end.
    pub to_server: bool,
    /// What it is for.
    pub used: LinkUse,
    /// Bytes per second.
    pub bytes_per_second: Both<f64>,
    /// Packets per second.
    pub packets_per_second: Both<f64>,
    /// Round-trip time.
    pub rtt: Duration,
    /// Share of our datagrams that were lost, 0 to 1.
    pub loss: f64,
    /// Entities the other end sees of us.
    pub visible: u64,
    /// Those of them that are not settled there.
    pub unsettled: u64,
    /// Records sent: all.
    pub records: u64,
    /// Those of them that were coded against nothing.
    pub absolute: u64,
    /// Those of them that were sent again after a loss.
    pub resent: u64,
    /// Those of them that were sent again unasked, where the network loses some.
    pub insured: u64,
    /// Entity-ticks that did not fit the budget.
    pub deferred: u64,
    /// What came and was not used.
    pub refused: RefusedModel,
}

impl LinkModel {
    /// Who is at the other end.
    #[must_use]
    pub fn other_end(&self) -> String {
        match (self.to_server, self.node, self.peer) {
            (true, Some(node), _) => format!("node {}", node.id),
            (true, None, _) => "server".to_owned(),
            (false, _, Some(peer)) => peer.to_string(),
            (false, _, None) => "unknown".to_owned(),
        }
    }
}

/// Records and datagrams that came and were not used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RefusedModel {
    /// Datagrams that came twice.
    pub duplicates: u64,
    /// Datagrams that could not be read.
    pub malformed: u64,
    /// Datagrams so late that their baselines were gone.
    pub late: u64,
    /// Records after a newer one.
    pub stale: u64,
    /// Records of a writer who may not write.
    pub fenced: u64,
    /// Records whose values did not decode.
    pub undecodable: u64,
    /// Records past a bound.
    pub over_bounds: u64,
}

impl RefusedModel {
    /// Each with its name.
    #[must_use]
    pub const fn all(&self) -> [(&'static str, u64); 7] {
        [
            ("duplicates", self.duplicates),
            ("malformed", self.malformed),
            ("late", self.late),
            ("stale", self.stale),
            ("fenced", self.fenced),
            ("undecodable", self.undecodable),
            ("over bounds", self.over_bounds),
        ]
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.all()
            .iter()
            .fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }
}

/// What one component costs, over all links, since the start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ComponentModel {
    /// Its full type path.
    pub path: String,
    /// Bits of values coded against nothing.
    pub absolute_bits: u64,
    /// Bits of values coded against a baseline.
    pub delta_bits: u64,
    /// Its part of the bits of all components, 0 to 1.
    pub share: f64,
}

impl ComponentModel {
    /// The type path without its modules, also within angle brackets.
    #[must_use]
    pub fn short(&self) -> String {
        shorten(&self.path)
    }
}

/// Entities on the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EntitiesModel {
    /// Hosted here.
    pub hosted: u64,
    /// Told of by others.
    pub remote: u64,
    /// Values that refused to be encoded.
    pub unencodable: u64,
}

/// `a::b::C<d::E>` becomes `C<E>`.
fn shorten(path: &str) -> String {
    let mut short = String::new();
    let mut word = 0;
    for letter in path.chars() {
        if letter == ':' {
            short.truncate(word);
            continue;
        }
        short.push(letter);
        if !(letter.is_alphanumeric() || letter == '_') {
            word = short.len();
        }
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_loses_its_modules_everywhere() {
        assert_eq!(shorten("game::parts::Health"), "Health");
        assert_eq!(
            shorten("core::option::Option<game::Health>"),
            "Option<Health>"
        );
        assert_eq!(shorten("a::B<c::D, e::F<g::H>>"), "B<D, F<H>>");
        assert_eq!(shorten("Plain"), "Plain");
        assert_eq!(shorten("game::K\u{e4}se"), "K\u{e4}se");
        assert_eq!(shorten(""), "");
    }

    #[test]
    fn sums_do_not_wrap() {
        let refused = RefusedModel {
            late: u64::MAX,
            stale: 7,
            ..RefusedModel::default()
        };
        assert_eq!(refused.total(), u64::MAX);
        let authority = AuthorityModel {
            hosted: u64::MAX,
            remote: 1,
            ..AuthorityModel::default()
        };
        assert_eq!(authority.delegated(), u64::MAX);
    }
}
