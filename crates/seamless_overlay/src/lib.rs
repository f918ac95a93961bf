//! What a networked Bevy app does, at a glance: an egui panel with throughput, links, the cost of
//! components, who holds what, and the cell map of the mesh.
//!
//! The panel is a function of plain data: [`ui`] draws an [`OverlayModel`] and needs neither Bevy
//! nor a window, so it can be tested, recorded, or fed from another process.
//!
//! ```
//! # let context = egui::Context::default();
//! use seamless_overlay::{OverlayModel, OverlayState, ui};
//!
//! let model = OverlayModel::default();
//! let mut state = OverlayState::default();
//! let mut drawn =
//!     context.run_ui(egui::RawInput::default(), |screen| ui(screen, &model, &mut state));
//! # drawn.textures_delta.clear();
//! ```
//!
//! In a rendered app, [`OverlayPlugin`](plugin::OverlayPlugin) does all of it: F3 opens the panel.
//!
//! # Layout
//!
//! * [`OverlayModel`] and [`model`]: what is shown.
//! * [`ui`], [`OverlayState`]: the panel.
//! * [`theme`]: colours of nodes and players, for games that want to paint in the same ones.
//! * [`units`]: numbers as people read them.
//! * [`collect`]: fills the model from a world (feature `bevy`, with the mesh in it by feature
//!   `mesh`).
//! * [`plugin`]: the window in a rendered app (feature `bevy_egui`).
//!
//! # Features
//!
//! | Feature | Default | What it adds |
//! |---|---|---|
//! | `bevy` | yes | [`collect`] |
//! | `mesh` | yes | nodes, cells, roots and handovers in what is collected |
//! | `bevy_egui` | no | [`plugin`]; the only one that pulls in rendering |

#[cfg(feature = "bevy")]
pub mod collect;
pub mod model;
mod panel;
#[cfg(feature = "bevy_egui")]
pub mod plugin;
mod table;
pub mod theme;
pub mod units;

pub use model::OverlayModel;
pub use panel::{OverlayState, ui};
#[cfg(feature = "bevy_egui")]
pub use plugin::{Overlay, OverlayPlugin};
