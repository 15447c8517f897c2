//! `pachat validate`.
//!
//! Layer: commands.

use clap::Args;

use crate::context::Context;
use crate::model::error::Result;

/// Arguments of `validate`.
#[derive(Debug, Args)]
#[command(about = "Check every file and setting, and repair what can be")]
pub struct ValidateArgs {
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// Carries out `validate`.
pub fn run(_args: &ValidateArgs, _context: &mut Context) -> Result<()> {
    Ok(())
}
