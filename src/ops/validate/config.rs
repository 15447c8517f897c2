//! Settings, `.env` and sealed keys.
