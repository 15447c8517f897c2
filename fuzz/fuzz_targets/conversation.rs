//! The parser of conversation files: never panics, and a line that it cannot read costs no
//! other line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pachat::model::conversation::Conversation;

fuzz_target!(|bytes: &[u8]| {
    let Ok(conversation) = Conversation::parse(bytes) else {
        return;
    };
    let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
    assert!(conversation.faults.len() + conversation.all().count() < lines);
    assert!(conversation.torn <= bytes.len());
    let _ = (
        conversation.title(),
        conversation.cost(),
        conversation.state(),
    );
    for (message, _) in conversation.all() {
        let _ = (message.content.to_text(), message.is_unfinished());
    }
});
