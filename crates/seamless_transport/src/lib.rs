//! Links between peers, whatever carries them.
