//! Who else can read or change what.
