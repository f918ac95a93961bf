//! Who holds what, and which old names are still understood.

use std::{cmp::Reverse, collections::BTreeMap};

use bevy::prelude::*;
use seamless_authority::AuthorityView;
use seamless_replication::{
    Authority, EvenHidden, NetSlot, Peer, Peers, migrate,
    wire::{Holder, PeerId},
};

use crate::model::{AuthorityModel, FenceModel, RedirectModel};

/// Counts the entities whose authority can be lent, frozen ones too, and shows the first of them.
pub(super) fn read(world: &World) -> AuthorityModel {
    let mut model = AuthorityModel::default();
    if let Some(peers) = world.get_resource::<Peers>() {
        redirects(peers, &mut model);
    }
    let mut lent: BTreeMap<PeerId, u64> = BTreeMap::new();
    // None of them was ever registered: nothing can be lent here.
    let Some(mut query) = world
        .try_query_filtered::<(&Authority, Option<&AuthorityView>, Option<&NetSlot>), EvenHidden>()
    else {
        return model;
    };
    let mut others = Vec::new();
    for (authority, view, slot) in query.iter(world) {
        if !authority.delegated {
            continue;
        }
        *(if authority.hosted {
            &mut model.hosted
        } else {
            &mut model.remote
        }) += 1;
        let list = match authority.holder {
            Holder::Nobody => {
                model.available += 1;
                &mut others
            }
            Holder::Host => {
                model.kept += 1;
                &mut others
            }
            Holder::Peer(peer) => {
                *lent.entry(peer).or_default() += 1;
                &mut model.fences
            }
        };
        match view {
            Some(AuthorityView::Granted) => model.granted += 1,
            Some(AuthorityView::Requested { .. }) => model.requested += 1,
            Some(AuthorityView::Releasing(_)) => model.releasing += 1,
            Some(AuthorityView::Available | AuthorityView::Denied) | None => {}
        }
        if list.len() < AuthorityModel::MOST_FENCES {
            list.push(fence(authority, view, slot));
        }
    }
    model.fences.append(&mut others);
    model.fences.truncate(AuthorityModel::MOST_FENCES);
    model.lent = lent.into_iter().collect();
    model
        .lent
        .sort_by_key(|(peer, count)| (Reverse(*count), *peer));
    model
}

fn fence(
    authority: &Authority,
    view: Option<&AuthorityView>,
    slot: Option<&NetSlot>,
) -> FenceModel {
    FenceModel {
        entity: slot.and_then(NetSlot::global),
        holder: authority.holder,
        epoch: authority.epoch,
        since: authority.since,
        hosted: authority.hosted,
        view: view.map(|view| match view {
            AuthorityView::Available => "available",
            AuthorityView::Requested { .. } => "requested",
            AuthorityView::Granted => "granted",
            AuthorityView::Releasing(_) => "releasing",
            AuthorityView::Denied => "denied",
        }),
    }
}

fn redirects(peers: &Peers, model: &mut AuthorityModel) {
    for redirect in migrate::redirects(peers) {
        model.redirected += 1;
        if model.redirects.len() < AuthorityModel::MOST_FENCES {
            model.redirects.push(RedirectModel {
                peer: peers.get(redirect.link).and_then(Peer::id),
                old: (redirect.old.0.index, redirect.old.0.generation),
                new: (redirect.new.0.index, redirect.new.0.generation),
            });
        }
    }
}
