//! Backups and rollback points.
