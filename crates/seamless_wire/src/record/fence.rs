//! The fence in a record.

use crate::{
    BitReader, BitWriter, WireError,
    epoch::{Epoch, Holder, Tenure, TenureEnd, Term, WriteMask},
    ids::PeerId,
};

fn write_epoch(w: &mut BitWriter, epoch: Epoch) {
    w.put_golomb(epoch.term.0, 6);
    w.put_golomb(u64::from(epoch.seq), 2);
}

fn read_epoch(r: &mut BitReader<'_>) -> Result<Epoch, WireError> {
    let term = Term(r.get_golomb(6)?);
    let seq = r.get_bounded(2, u32::MAX.into(), "holder sequence")? as u32;
    Ok(Epoch { term, seq })
}

/// A peer in as many bytes as it takes: small numbers are short, and any number is possible.
fn write_peer(w: &mut BitWriter, peer: PeerId) {
    let bytes = (peer.0 | 1).ilog2() / 8 + 1;
    w.put(u64::from(bytes - 1), 3);
    w.put(peer.0 & 0xffff_ffff, (bytes * 8).min(32));
    if bytes > 4 {
        w.put(peer.0 >> 32, bytes * 8 - 32);
    }
}

fn read_peer(r: &mut BitReader<'_>) -> Result<PeerId, WireError> {
    let bytes = r.get(3)? as u32 + 1;
    let low = r.get((bytes * 8).min(32))?;
    let high = if bytes > 4 { r.get(bytes * 8 - 32)? } else { 0 };
    let peer = high << 32 | low;
    if bytes > 1 && peer >> ((bytes - 1) * 8) == 0 {
        return Err(WireError::Invalid {
            what: "peer in too many bytes",
            value: peer,
        });
    }
    Ok(PeerId(peer))
}

pub(super) fn write_tenure(w: &mut BitWriter, tenure: &Tenure) {
    write_epoch(w, tenure.epoch);
    w.put_bool(tenure.since != tenure.epoch);
    if tenure.since != tenure.epoch {
        write_epoch(w, tenure.since);
    }
    w.put_bool(tenure.delegated);
    match tenure.holder {
        Holder::Nobody => w.put(0, 2),
        Holder::Host => w.put(1, 2),
        Holder::Peer(peer) => {
            w.put(2, 2);
            write_peer(w, peer);
        }
    }
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
    let holder = match r.get(2)? {
        0 => Holder::Nobody,
        1 => Holder::Host,
        2 => Holder::Peer(read_peer(r)?),
        value => {
            return Err(WireError::Invalid {
                what: "kind of holder",
                value,
            });
        }
    };
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
