//! What stands around the store: the machine, the settings, and who else can read all of it.
//!
//! Layer: commands. It gathers what the three looks need from the context and decides nothing.

use crate::context::Context;
use crate::model::finding::Finding;
use crate::model::id::ConversationId;
use crate::ops::validate::{config, platform, security};
use crate::platform::process;
use crate::settings;
use crate::store::keys::Access;
use crate::store::read::Scope;

/// The machine: terminal, clock, memory, file system.
pub(super) fn platform_findings(context: &mut Context) -> Vec<Finding> {
    let environment = &context.environment;
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .find_map(|name| environment.get(name));
    let store = context.store();
    // An id tells when its conversation began, and they are sorted.
    let newest = store
        .ids(Scope::All)
        .ok()
        .and_then(|ids| ids.last().and_then(ConversationId::begun_at));
    let data_dir = context.data_dir();
    platform::look(&platform::Machine {
        disk: context.disk.as_ref(),
        random: context.random.as_ref(),
        data_dir: &data_dir,
        is_terminal: context.ui.stdout_is_terminal(),
        columns: context.ui.size().map(|(columns, _)| columns),
        terminal: environment.get("TERM"),
        locale,
        has_home: environment.get("HOME").is_some() || !cfg!(unix),
        now: context.clock.now(),
        newest,
        memory_limit: context.settings.memory_limit(),
    })
}

/// The settings, the variables, and the files that they name.
pub(super) fn config_findings(context: &mut Context) -> Vec<Finding> {
    let settings = &context.settings;
    let disk = context.disk.as_ref();
    let mut found = settings::findings(&context.global, &context.environment, disk);
    let data_dir = context.data_dir();
    let file = settings.config_file();
    let days = |key| settings.days(key).unwrap_or_default();
    found.extend(config::look(&config::Subject {
        config_file: file
            .strip_prefix(&data_dir)
            .unwrap_or(file)
            .display()
            .to_string(),
        line_of: &|key| settings::line_of(disk, file, key),
        base_url: settings.base_url(),
        has_other_key: context.global.api_key_file.is_some()
            || settings.key_command().is_some()
            || settings.api_key().is_some(),
        keys_file: settings.keys_file(),
        access: Access {
            disk,
            random: context.random.as_ref(),
            config_dir: settings.config_dir(),
            data_dir: &data_dir,
            passphrase: settings.encryption_key(),
            secrets: context.secrets.as_ref(),
            programs: context.programs.as_ref(),
        },
        ca_file: settings.ca_file(),
        encrypted: settings.backup_encrypted(),
        recipients: settings.backup_recipients(),
        identity: settings.backup_identity(),
        keeps: ["last", "daily", "weekly", "monthly", "yearly"]
            .map(|rule| settings.backup_keep(rule)),
        keep_within: settings.backup_keep_within(),
        memory_limit: settings.memory_limit(),
        conversation_limit: settings.conversation_limit(),
        cost_limits: settings.cost_limits(),
        archive_days: days("cleanup.archive_days"),
        min_age_days: days("cleanup.min_age_days"),
    }));
    found
}

/// Permissions, owners, and places from which copies go elsewhere.
pub(in crate::commands) fn security_findings(context: &mut Context) -> Vec<Finding> {
    let settings = &context.settings;
    let disk = context.disk.as_ref();
    let data_dir = context.data_dir();
    let env_file = settings::env_file(&context.global, &context.environment, disk);
    security::look(&security::Surroundings {
        disk,
        data_dir: &data_dir,
        config_dir: settings.config_dir(),
        config_file: settings.config_file(),
        env_file: env_file
            .as_ref()
            .map(|file| (file.path.as_path(), file.holds_a_secret)),
        identity: settings.backup_identity(),
        user: process::user(),
        base_url: settings.base_url(),
    })
}
