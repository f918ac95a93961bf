//! The first thing that a client says, changed on its way.

use seamless_replication::wire::{
    codec,
    frame::{Frame, Hello},
};
use seamless_testkit::{AppId, Cluster, Fate, Parcel, Way, Wire};

/// A new client whose hello is kept from the server.
pub fn held_hello(cluster: &mut Cluster, server: AppId) -> (AppId, Wire, Parcel) {
    let (client, wire) = cluster.client_over_wire(server);
    wire.decide(|parcel| match parcel.channel {
        Some(_) if parcel.way == Way::ToServer => Fate::Hold,
        _ => Fate::Pass,
    });
    cluster.run(20);
    let parcel = wire.kept().remove(0);
    (client, wire, parcel)
}

/// The same parcel with another hello in it.
#[must_use]
pub fn with_hello(mut parcel: Parcel, edit: impl FnOnce(&mut Hello)) -> Parcel {
    let Ok(Frame::Hello(mut hello)) = codec::decode(&parcel.bytes) else {
        panic!("the first thing a client says is hello");
    };
    edit(&mut hello);
    parcel.bytes = codec::to_vec(&Frame::Hello(hello)).expect("it encodes");
    parcel
}
