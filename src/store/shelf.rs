//! Putting conversations away, and taking them back: the archive and the trash.
//!
//! Layer: store.
