//! The fence in a record: as it is, or what happened to the baseline's.

use crate::{
    BitReader, BitWriter, WireError,
    epoch::{Epoch, Holder, Tenure, TenureEnd, Term, WriteMask},
    ids::PeerId,
};

/// What a delta says of a fence that is not the baseline's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FenceChange {
    /// Another holder under the same host, as [`Tenure::transfer`] makes it.
    Transfer {
        /// How often it was transferred; at least 1.
        times: u32,
        /// The present holder.
        holder: Holder,
        /// How the tenure before the present one ended.
        ended: TenureEnd,
    },
    /// Anything else.
    Whole(Tenure),
}

impl FenceChange {
    /// The shorter way to say what `before` has become.
    #[must_use]
    pub fn between(before: &Tenure, after: &Tenure) -> Self {
        let times = after.epoch.seq.wrapping_sub(before.epoch.seq);
        let change = Self::Transfer {
            times,
            holder: after.holder,
            ended: after.ended,
        };
        match change.apply(before) {
            Ok(same) if same == *after => change,
            _ => Self::Whole(*after),
        }
    }

    /// What `before` has become.
    ///
    /// # Errors
    /// [`WireError::OutOfBounds`] if there is no such epoch.
    pub fn apply(&self, before: &Tenure) -> Result<Tenure, WireError> {
        match *self {
            Self::Whole(tenure) => Ok(tenure),
            Self::Transfer {
                times,
                holder,
                ended,
            } => {
                let seq = before.epoch.seq.checked_add(times).filter(|_| times > 0);
                let seq = seq.ok_or_else(|| WireError::OutOfBounds {
                    what: "transfers of a holder",
                    value: times.into(),
                    max: u64::from(u32::MAX - before.epoch.seq),
                })?;
                let epoch = Epoch {
                    term: before.epoch.term,
                    seq,
                };
                Ok(Tenure {
                    epoch,
                    since: epoch,
                    holder,
                    delegated: before.delegated,
                    writes: WriteMask::ALL,
                    lease: 0,
                    ended,
                })
            }
        }
    }

    pub(super) fn write(&self, w: &mut BitWriter) {
        match self {
            Self::Whole(tenure) => {
                w.put_bool(true);
                write_tenure(w, tenure);
            }
            Self::Transfer {
                times,
                holder,
                ended,
            } => {
                w.put_bool(false);
                w.put_golomb(u64::from(times - 1), 0);
                write_holder(w, *holder);
                // A grant mostly follows nobody.
                w.put_bool(*ended != TenureEnd::Unheld);
                if *ended != TenureEnd::Unheld {
                    w.put(*ended as u64, 3);
                }
            }
        }
    }

    pub(super) fn read(r: &mut BitReader<'_>) -> Result<Self, WireError> {
        if r.get_bool()? {
            return Ok(Self::Whole(read_tenure(r)?));
        }
        let max = u64::from(u32::MAX) - 1;
        Ok(Self::Transfer {
            times: r.get_bounded(0, max, "transfers of a holder")? as u32 + 1,
            holder: read_holder(r)?,
            ended: match r.get_bool()? {
                true => TenureEnd::ALL[r.get(3)? as usize],
                false => TenureEnd::Unheld,
            },
        })
    }
}

fn write_epoch(w: &mut BitWriter, epoch: Epoch) {
    w.put_golomb(epoch.term.0, 6);
    w.put_golomb(u64::from(epoch.seq), 2);
}

fn read_epoch(r: &mut BitReader<'_>) -> Result<Epoch, WireError> {
    let term = Term(r.get_golomb(6)?);
    let seq = r.get_bounded(2, u32::MAX.into(), "holder sequence")? as u32;
    Ok(Epoch { term, seq })
}

/// A peer in as many groups of four bits as it takes: small numbers are short, and any number is
/// possible.
fn write_peer(w: &mut BitWriter, peer: PeerId) {
    let bits = ((peer.0 | 1).ilog2() / 4 + 1) * 4;
    w.put(u64::from(bits / 4 - 1), 4);
    w.put(peer.0 & 0xffff_ffff, bits.min(32));
    if bits > 32 {
        w.put(peer.0 >> 32, bits - 32);
    }
}

fn read_peer(r: &mut BitReader<'_>) -> Result<PeerId, WireError> {
    let bits = (r.get(4)? as u32 + 1) * 4;
    let low = r.get(bits.min(32))?;
    let high = if bits > 32 { r.get(bits - 32)? } else { 0 };
    let peer = high << 32 | low;
    if bits > 4 && peer >> (bits - 4) == 0 {
        return Err(WireError::Invalid {
            what: "peer in too many bits",
            value: peer,
        });
    }
    Ok(PeerId(peer))
}

fn write_holder(w: &mut BitWriter, holder: Holder) {
    if let Holder::Peer(peer) = holder {
        w.put_bool(true);
        write_peer(w, peer);
    } else {
        w.put_bool(false);
        w.put_bool(holder == Holder::Host);
    }
}

fn read_holder(r: &mut BitReader<'_>) -> Result<Holder, WireError> {
    if r.get_bool()? {
        return Ok(Holder::Peer(read_peer(r)?));
    }
    Ok(match r.get_bool()? {
        true => Holder::Host,
        false => Holder::Nobody,
    })
}

pub(super) fn write_tenure(w: &mut BitWriter, tenure: &Tenure) {
    write_epoch(w, tenure.epoch);
    w.put_bool(tenure.since != tenure.epoch);
    if tenure.since != tenure.epoch {
        write_epoch(w, tenure.since);
    }
    w.put_bool(tenure.delegated);
    write_holder(w, tenure.holder);
    w.put(tenure.ended as u64, 3);
    let usual = tenure.writes == WriteMask::ALL && tenure.lease == 0;
    w.put_bool(!usual);
    if !usual {
        w.put_u64(tenure.writes.withheld());
        w.put_golomb(tenure.lease.into(), 6);
    }
}

pub(super) fn read_tenure(r: &mut BitReader<'_>) -> Result<Tenure, WireError> {
    let epoch = read_epoch(r)?;
    let since = if r.get_bool()? { read_epoch(r)? } else { epoch };
    if since > epoch {
        return Err(WireError::Invalid {
            what: "tenure that begins after now",
            value: since.term.0,
        });
    }
    let delegated = r.get_bool()?;
    let holder = read_holder(r)?;
    let ended = TenureEnd::ALL[r.get(3)? as usize];
    let (mut writes, mut lease) = (WriteMask::ALL, 0);
    if r.get_bool()? {
        writes = WriteMask::withholding(r.get_u64()?);
        lease = r.get_bounded(6, u32::MAX.into(), "length of a lease")? as u32;
    }
    Ok(Tenure {
        epoch,
        since,
        holder,
        delegated,
        writes,
        lease,
        ended,
    })
}
