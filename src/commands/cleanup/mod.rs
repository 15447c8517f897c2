//! `pachat cleanup`.
//!
//! Layer: commands.

use clap::Args;

use crate::context::Context;
use crate::model::error::Result;

/// Arguments of `cleanup`.
#[derive(Debug, Args)]
#[command(about = "Put old conversations away, and remove what is not needed")]
pub struct CleanupArgs {
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// Carries out `cleanup`.
pub fn run(_args: &CleanupArgs, _context: &mut Context) -> Result<()> {
    Ok(())
}
