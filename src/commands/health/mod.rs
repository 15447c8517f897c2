//! `pachat health`.
//!
//! Layer: commands.

use clap::Args;

use crate::context::Context;
use crate::model::error::Result;

/// Arguments of `health`.
#[derive(Debug, Args)]
#[command(about = "Check that everything works, and say what is wrong")]
pub struct HealthArgs {
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// Carries out `health`.
pub fn run(_args: &HealthArgs, _context: &mut Context) -> Result<()> {
    Ok(())
}
