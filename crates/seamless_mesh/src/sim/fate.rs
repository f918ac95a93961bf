//! What may become of a message or a directory operation.

use std::{ops::Range, time::Duration};

use seamless_wire::NodeId;

use crate::protocol::{PeerMessage, PeerReply};

/// The network between nodes, and the way to the directory.
#[derive(Debug, Clone)]
pub struct Network {
    /// How long a message takes, each way. A range wider than the time between two messages
    /// reorders them.
    pub latency: Range<Duration>,
    /// Messages lost, per mille.
    pub loss: u32,
    /// Messages delivered twice, per mille. The second comes up to ten latencies later.
    pub duplicate: u32,
    /// How long a directory operation takes to get there, and its answer to come back.
    pub directory: Range<Duration>,
    /// Directory operations that are not made and whose maker cannot know, per mille.
    pub lost_calls: u32,
    /// Directory operations whose answer is lost, per mille.
    pub lost_answers: u32,
    /// When the maker of an operation without an answer is told that it is in doubt.
    pub directory_timeout: Duration,
    /// How often a node looks whether the directory changed.
    pub watch_every: Duration,
}

impl Default for Network {
    fn default() -> Self {
        let us = Duration::from_micros;
        Self {
            latency: us(300)..us(600),
            loss: 0,
            duplicate: 0,
            directory: us(50)..us(150),
            lost_calls: 0,
            lost_answers: 0,
            directory_timeout: Duration::from_millis(50),
            watch_every: Duration::from_millis(10),
        }
    }
}

/// What a message says.
#[derive(Debug, Clone, Copy)]
pub enum Payload<'a> {
    /// It asks.
    Request(&'a PeerMessage),
    /// It answers.
    Reply(&'a PeerReply),
}

/// A message that is about to leave.
#[derive(Debug, Clone, Copy)]
pub struct Envelope<'a> {
    /// Whose.
    pub from: NodeId,
    /// For whom.
    pub to: NodeId,
    /// What it says.
    pub payload: Payload<'a>,
}

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// What the network does to any.
    Normal,
    /// It is lost.
    Lost,
    /// It takes so much longer.
    Late(Duration),
    /// It arrives, and again so much later.
    Twice(Duration),
    /// Its sender dies when it has left.
    SenderDies,
    /// Its receiver dies before it reads it.
    ReceiverDies,
}

/// What becomes of a directory operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirectoryFate {
    /// It is made.
    Normal,
    /// It is not made, and the maker is told so.
    Unavailable,
    /// It is not made, and the maker cannot know.
    CallLost,
    /// It is made, and the maker cannot know.
    AnswerLost,
    /// It takes so much longer, and the ones after it wait.
    Late(Duration),
    /// The node dies before it is made.
    DiesBefore,
    /// It is made, and the node dies before it hears.
    DiesAfter,
}
