//! Repairs that lose nothing.
