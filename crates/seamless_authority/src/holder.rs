//! The holder of a delegated entity: one total function from (fence, event) to what follows.
//!
//! Pure, and without a state in which an event has no meaning: whatever a peer sends, in whatever
//! state, something is defined, and nothing panics.

use seamless_replication::wire::{
    Epoch, Holder, PeerId, Tenure, TenureEnd, WriteMask,
    control::{AuthorityAnswer, DenyReason},
};

/// On which terms an entity is lent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Loan {
    /// Which components the holder may write. All by default.
    pub writes: WriteMask,
    /// For how many ticks at a time; 0, the default: until it is given back or taken.
    pub lease: u32,
}

/// Something that may change who holds an entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HolderEvent {
    /// A client asks. `verdict` is what scope and policy say, before it is known whether somebody
    /// has it.
    Request {
        /// Who.
        peer: PeerId,
        /// Whether it may, and on which terms.
        verdict: Result<Loan, DenyReason>,
    },
    /// A client gives it back.
    Release {
        /// Who.
        peer: PeerId,
        /// The epoch it thought it held it under.
        stamp: Epoch,
    },
    /// The server gives it to a client, whoever holds it.
    Give(PeerId, Loan),
    /// The server keeps it for itself.
    Take,
    /// The server frees it.
    Reset,
    /// A client does not see it any more, or is gone.
    Vanish(PeerId),
    /// A client had it for as long as it was lent.
    Lapse(PeerId),
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
    /// The holder did not see it any more, or was gone, and is back.
    OutOfScope,
    /// It was lent for so long and not longer.
    LeaseEnded,
    /// It cannot be lent any more.
    Disabled,
    /// It left the holder's world.
    Gone,
}

impl LossReason {
    /// What a row says of how the tenure before it ended. `None`: by a release.
    pub(crate) const fn of(ended: TenureEnd) -> Option<Self> {
        match ended {
            TenureEnd::Released => None,
            TenureEnd::Given => Some(Self::Given),
            TenureEnd::Taken => Some(Self::Taken),
            TenureEnd::Unheld | TenureEnd::Reset => Some(Self::Reset),
            TenureEnd::OutOfScope => Some(Self::OutOfScope),
            TenureEnd::LeaseEnded => Some(Self::LeaseEnded),
            TenureEnd::Disabled => Some(Self::Disabled),
        }
    }
}

/// What follows from an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// The fence from now on. Equal to the former one: nothing changed, nobody is told.
    pub tenure: Tenure,
    /// The answer to a request; each request has exactly one.
    pub answer: Option<AuthorityAnswer>,
    /// A holder that lost it without having asked. Why stands in the fence.
    pub lost: Option<PeerId>,
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
/// | give to the holder on other terms | same | through the row; the tenure goes on |
/// | the lease ends | nobody | it, that it lost it |
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
            let loan = match verdict {
                Ok(loan) => loan,
                Err(reason) => return answer(AuthorityAnswer::Denied(reason)),
            };
            if tenure.holder != Holder::Nobody {
                return answer(AuthorityAnswer::Denied(DenyReason::Held));
            }
            let after = lent(tenure, peer, loan);
            Outcome {
                tenure: after,
                answer: Some(AuthorityAnswer::Granted(after.since)),
                lost: None,
            }
        }
        HolderEvent::Release { peer, stamp } => {
            if tenure.admits_holder(peer, stamp) {
                Outcome {
                    tenure: transferred(tenure, Holder::Nobody, TenureEnd::Released),
                    ..unchanged
                }
            } else {
                unchanged
            }
        }
        HolderEvent::Give(peer, loan) if tenure.delegated => give(tenure, peer, loan),
        HolderEvent::Take if tenure.delegated => moved(tenure, Holder::Host, TenureEnd::Taken),
        HolderEvent::Reset if tenure.delegated => moved(tenure, Holder::Nobody, TenureEnd::Reset),
        HolderEvent::Vanish(peer) if tenure.holder == Holder::Peer(peer) => {
            moved(tenure, Holder::Nobody, TenureEnd::OutOfScope)
        }
        HolderEvent::Lapse(peer) if tenure.holder == Holder::Peer(peer) => {
            moved(tenure, Holder::Nobody, TenureEnd::LeaseEnded)
        }
        HolderEvent::Enable if !tenure.delegated => Outcome {
            tenure: Tenure {
                delegated: true,
                ..*tenure
            },
            ..unchanged
        },
        HolderEvent::Disable if tenure.delegated => {
            let mut outcome = moved(tenure, Holder::Nobody, TenureEnd::Disabled);
            outcome.tenure.delegated = false;
            outcome
        }
        HolderEvent::Give(..)
        | HolderEvent::Take
        | HolderEvent::Reset
        | HolderEvent::Vanish(_)
        | HolderEvent::Lapse(_)
        | HolderEvent::Enable
        | HolderEvent::Disable => unchanged,
    }
}

fn transferred(tenure: &Tenure, holder: Holder, ended: TenureEnd) -> Tenure {
    let mut after = *tenure;
    after.transfer(holder, ended);
    after
}

fn lent(tenure: &Tenure, peer: PeerId, loan: Loan) -> Tenure {
    Tenure {
        writes: loan.writes,
        lease: loan.lease,
        ..transferred(tenure, Holder::Peer(peer), TenureEnd::Given)
    }
}

/// A gift. Who holds it already keeps its tenure, so that what it has under way still counts; on
/// other terms it is another epoch.
fn give(tenure: &Tenure, peer: PeerId, loan: Loan) -> Outcome {
    let lost = match tenure.holder {
        Holder::Peer(holder) if holder == peer => {
            let mut tenure = *tenure;
            if (tenure.writes, tenure.lease) != (loan.writes, loan.lease) {
                tenure.epoch = tenure.epoch.next_holder();
                tenure.writes = loan.writes;
                tenure.lease = loan.lease;
            }
            return Outcome {
                tenure,
                answer: None,
                lost: None,
            };
        }
        Holder::Peer(holder) => Some(holder),
        Holder::Host | Holder::Nobody => None,
    };
    Outcome {
        tenure: lent(tenure, peer, loan),
        answer: None,
        lost,
    }
}

/// A change of holder that the former holder did not ask for.
fn moved(tenure: &Tenure, holder: Holder, ended: TenureEnd) -> Outcome {
    if tenure.holder == holder {
        return Outcome {
            tenure: *tenure,
            answer: None,
            lost: None,
        };
    }
    let lost = match tenure.holder {
        Holder::Peer(peer) => Some(peer),
        Holder::Host | Holder::Nobody => None,
    };
    Outcome {
        tenure: transferred(tenure, holder, ended),
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
                verdict: if may {
                    Ok(Loan::default())
                } else {
                    Err(DenyReason::Policy)
                },
            }),
            (peer.clone(), stamp).prop_map(|(peer, stamp)| HolderEvent::Release { peer, stamp }),
            (peer.clone(), 0u32..2).prop_map(|(peer, lease)| {
                HolderEvent::Give(
                    peer,
                    Loan {
                        lease,
                        ..Loan::default()
                    },
                )
            }),
            peer.clone().prop_map(HolderEvent::Lapse),
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
                prop_assert!(tenure.epoch >= before.epoch);
                if tenure.holder == before.holder {
                    let same_terms = tenure.lease == before.lease;
                    prop_assert_eq!(tenure.epoch == before.epoch, same_terms);
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
                if let Some(peer) = outcome.lost {
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
            verdict: Ok(Loan::default()),
        }
    }

    fn given(peer: u64) -> HolderEvent {
        HolderEvent::Give(PeerId(peer), Loan::default())
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
        let once = step(&delegated(), given(1));
        let twice = step(&once.tenure, given(1));
        assert_eq!(
            twice,
            Outcome {
                tenure: once.tenure,
                answer: None,
                lost: None
            }
        );
        let other = step(&once.tenure, given(2));
        assert_eq!(other.lost, Some(PeerId(1)));
        assert_eq!(other.tenure.ended, TenureEnd::Given);
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
