//! The holder of a delegated entity: one total function from (fence, event) to what follows.
//!
//! Pure, and without a state in which an event has no meaning: whatever a peer sends, in whatever
//! state, something is defined, and nothing panics.

use seamless_replication::wire::{
    Epoch, Holder, PeerId, Tenure,
    control::{AuthorityAnswer, DenyReason},
};

/// Something that may change who holds an entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HolderEvent {
    /// A client asks. `verdict` is what scope and policy say, before it is known whether somebody
    /// has it.
    Request {
        /// Who.
        peer: PeerId,
        /// Whether it may.
        verdict: Result<(), DenyReason>,
    },
    /// A client gives it back.
    Release {
        /// Who.
        peer: PeerId,
        /// The epoch it thought it held it under.
        stamp: Epoch,
    },
    /// The server gives it to a client, whoever holds it.
    Give(PeerId),
    /// The server keeps it for itself.
    Take,
    /// The server frees it.
    Reset,
    /// A client does not see it any more, or is gone.
    Vanish(PeerId),
    /// It can be lent from now on.
    Enable,
    /// It cannot be lent any more.
    Disable,
}

/// Why a holder is not one any more, if it did not give it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LossReason {
    /// The server gave it to another.
    Given,
    /// The server took it for itself.
    Taken,
    /// The server freed it.
    Reset,
    /// The holder does not see it any more, or is gone.
    OutOfScope,
    /// It cannot be lent any more.
    Disabled,
    /// It left the holder's world.
    Gone,
}

/// What follows from an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// The fence from now on. Equal to the former one: nothing changed, nobody is told.
    pub tenure: Tenure,
    /// The answer to a request; each request has exactly one.
    pub answer: Option<AuthorityAnswer>,
    /// A holder that lost it without having asked, and why.
    pub lost: Option<(PeerId, LossReason)>,
}

/// The rules.
///
/// | Event | Holder after | Told |
/// |---|---|---|
/// | request, nobody holds it, allowed | the requester | granted |
/// | request by the holder | same | granted, again |
/// | request, held or refused | same | denied, with the reason |
/// | release within the tenure | nobody | through the row |
/// | release by another or outside the tenure | same | nothing; the row says how it is |
/// | give | the receiver | through the row; the former holder that it lost it |
/// | take | the host | the former holder that it lost it |
/// | reset | nobody | the former holder that it lost it |
/// | the holder vanishes | nobody | it, that it lost it |
/// | disable | nobody, and not to be lent | the former holder that it lost it |
///
/// Every change of holder raises the epoch and begins a new tenure; no change raises nothing.
#[must_use]
pub fn step(tenure: &Tenure, event: HolderEvent) -> Outcome {
    let unchanged = Outcome {
        tenure: *tenure,
        answer: None,
        lost: None,
    };
    match event {
        HolderEvent::Request { peer, verdict } => {
            let answer = |answer| Outcome {
                answer: Some(answer),
                ..unchanged
            };
            if !tenure.delegated {
                return answer(AuthorityAnswer::Denied(DenyReason::NotDelegated));
            }
            if tenure.holder == Holder::Peer(peer) {
                return answer(AuthorityAnswer::Granted(tenure.since));
            }
            if let Err(reason) = verdict {
                return answer(AuthorityAnswer::Denied(reason));
            }
            if tenure.holder != Holder::Nobody {
                return answer(AuthorityAnswer::Denied(DenyReason::Held));
            }
            let after = transferred(tenure, Holder::Peer(peer));
            Outcome {
                tenure: after,
                answer: Some(AuthorityAnswer::Granted(after.since)),
                lost: None,
            }
        }
        HolderEvent::Release { peer, stamp } => {
            if tenure.admits_holder(peer, stamp) {
                Outcome {
                    tenure: transferred(tenure, Holder::Nobody),
                    ..unchanged
                }
            } else {
                unchanged
            }
        }
        HolderEvent::Give(peer) if tenure.delegated => {
            moved(tenure, Holder::Peer(peer), LossReason::Given)
        }
        HolderEvent::Take if tenure.delegated => moved(tenure, Holder::Host, LossReason::Taken),
        HolderEvent::Reset if tenure.delegated => moved(tenure, Holder::Nobody, LossReason::Reset),
        HolderEvent::Vanish(peer) if tenure.holder == Holder::Peer(peer) => {
            moved(tenure, Holder::Nobody, LossReason::OutOfScope)
        }
        HolderEvent::Enable if !tenure.delegated => Outcome {
            tenure: Tenure {
                delegated: true,
                ..*tenure
            },
            ..unchanged
        },
        HolderEvent::Disable if tenure.delegated => {
            let mut outcome = moved(tenure, Holder::Nobody, LossReason::Disabled);
            outcome.tenure.delegated = false;
            outcome
        }
        HolderEvent::Give(_)
        | HolderEvent::Take
        | HolderEvent::Reset
        | HolderEvent::Vanish(_)
        | HolderEvent::Enable
        | HolderEvent::Disable => unchanged,
    }
}

fn transferred(tenure: &Tenure, holder: Holder) -> Tenure {
    let mut after = *tenure;
    after.transfer(holder);
    after
}

/// A change of holder that the former holder did not ask for.
fn moved(tenure: &Tenure, holder: Holder, reason: LossReason) -> Outcome {
    if tenure.holder == holder {
        return Outcome {
            tenure: *tenure,
            answer: None,
            lost: None,
        };
    }
    let lost = match tenure.holder {
        Holder::Peer(peer) => Some((peer, reason)),
        Holder::Host | Holder::Nobody => None,
    };
    Outcome {
        tenure: transferred(tenure, holder),
        answer: None,
        lost,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use seamless_replication::wire::Term;

    use super::*;

    fn event() -> impl Strategy<Value = HolderEvent> {
        let peer = (1u64..4).prop_map(PeerId);
        let stamp = (0u64..3, 0u32..9).prop_map(|(term, seq)| Epoch {
            term: Term(term),
            seq,
        });
        prop_oneof![
            (peer.clone(), any::<bool>()).prop_map(|(peer, may)| HolderEvent::Request {
                peer,
                verdict: if may { Ok(()) } else { Err(DenyReason::Policy) },
            }),
            (peer.clone(), stamp).prop_map(|(peer, stamp)| HolderEvent::Release { peer, stamp }),
            peer.clone().prop_map(HolderEvent::Give),
            Just(HolderEvent::Take),
            Just(HolderEvent::Reset),
            peer.prop_map(HolderEvent::Vanish),
            Just(HolderEvent::Enable),
            Just(HolderEvent::Disable),
        ]
    }

    proptest! {
        #[test]
        fn epochs_rise_with_every_change_of_holder_and_only_then(events in proptest::collection::vec(event(), 0..60)) {
            let mut tenure = Tenure::plain(Term(1));
            for event in events {
                let before = tenure;
                let outcome = step(&tenure, event);
                tenure = outcome.tenure;
                if tenure.holder == before.holder {
                    prop_assert_eq!(tenure.epoch, before.epoch);
                    prop_assert_eq!(tenure.since, before.since);
                    prop_assert_eq!(outcome.lost, None);
                } else {
                    prop_assert!(tenure.epoch > before.epoch);
                    prop_assert_eq!(tenure.since, tenure.epoch);
                    // A stamp of the former tenure passes no more.
                    for peer in [1, 2, 3].map(PeerId) {
                        prop_assert!(!tenure.admits_holder(peer, before.epoch));
                    }
                }
                let is_request = matches!(event, HolderEvent::Request { .. });
                prop_assert_eq!(outcome.answer.is_some(), is_request);
                if let Some((peer, _)) = outcome.lost {
                    prop_assert_eq!(before.holder, Holder::Peer(peer));
                }
                if !tenure.delegated {
                    prop_assert_eq!(tenure.holder, Holder::Nobody);
                }
            }
        }
    }

    fn delegated() -> Tenure {
        step(&Tenure::plain(Term(1)), HolderEvent::Enable).tenure
    }

    fn request(peer: u64) -> HolderEvent {
        HolderEvent::Request {
            peer: PeerId(peer),
            verdict: Ok(()),
        }
    }

    #[test]
    fn the_first_request_wins_and_the_second_is_told_why_not() {
        let first = step(&delegated(), request(1));
        assert!(matches!(first.answer, Some(AuthorityAnswer::Granted(_))));
        let second = step(&first.tenure, request(2));
        assert_eq!(
            second.answer,
            Some(AuthorityAnswer::Denied(DenyReason::Held))
        );
        assert_eq!(second.tenure, first.tenure);
    }

    #[test]
    fn giving_twice_to_the_same_changes_nothing() {
        let once = step(&delegated(), HolderEvent::Give(PeerId(1)));
        let twice = step(&once.tenure, HolderEvent::Give(PeerId(1)));
        assert_eq!(
            twice,
            Outcome {
                tenure: once.tenure,
                answer: None,
                lost: None
            }
        );
        let other = step(&once.tenure, HolderEvent::Give(PeerId(2)));
        assert_eq!(other.lost, Some((PeerId(1), LossReason::Given)));
    }

    #[test]
    fn resetting_an_idle_entity_changes_nothing() {
        let idle = delegated();
        assert_eq!(step(&idle, HolderEvent::Reset).tenure, idle);
    }

    #[test]
    fn a_release_from_a_former_tenure_is_void() {
        let held = step(&delegated(), request(1)).tenure;
        let old = held.epoch;
        let freed = step(&held, HolderEvent::Reset).tenure;
        let again = step(&freed, request(1)).tenure;
        let release = HolderEvent::Release {
            peer: PeerId(1),
            stamp: old,
        };
        assert_eq!(step(&again, release).tenure, again);
    }
}
