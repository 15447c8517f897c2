//! What surrounds the data: the machine, the settings, and who else can read what.
//!
//! Layer: commands. Each function takes out of the context what the look at its area needs.

use crate::context::Context;
use crate::model::finding::Finding;

/// The area `platform`: terminal, locale, clock, and what the file system can do.
pub(super) fn platform_findings(_context: &mut Context) -> Vec<Finding> {
    Vec::new()
}

/// The area `config`: settings, `.env`, variables and sealed keys. The settings of the context
/// are what can be read of them; whatever is wrong has to be found here.
pub(super) fn config_findings(_context: &mut Context) -> Vec<Finding> {
    Vec::new()
}

/// The area `security`: permissions, owners, exposed keys and places.
pub(super) fn security_findings(_context: &mut Context) -> Vec<Finding> {
    Vec::new()
}
