//! A prompt put together from arguments, files and standard input.

/// A text file to go along with a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The name to show to the model.
    pub name: String,
    /// What is in it.
    pub text: String,
}

/// The parts in the order in which a person reads them: the words, then the files, each in
/// a fence with its name, then what came through the pipe; with blank lines in between.
pub fn assemble(words: &str, files: &[Attachment], piped: &str) -> String {
    let mut parts: Vec<String> = Vec::new();
    if !words.trim().is_empty() {
        parts.push(words.to_owned());
    }
    parts.extend(files.iter().map(fenced));
    if !piped.trim().is_empty() {
        // Only the final line feed is the pipe's, not the text's.
        parts.push(piped.strip_suffix('\n').unwrap_or(piped).to_owned());
    }
    parts.join("\n\n")
}

fn fenced(file: &Attachment) -> String {
    // A fence that is longer than any run of backticks in the text cannot be closed by it.
    let longest = file
        .text
        .split(|character| character != '`')
        .map(str::len)
        .max()
        .unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    let language = file
        .name
        .rsplit_once('.')
        .map_or("", |(_, extension)| extension);
    let language = if language.chars().all(|c| c.is_ascii_alphanumeric()) {
        language
    } else {
        ""
    };
    let text = file.text.strip_suffix('\n').unwrap_or(&file.text);
    format!("{}:\n{fence}{language}\n{text}\n{fence}", file.name)
}

/// The content of the first fenced code block of a reply, with a final line feed.
pub fn first_code_block(markdown: &str) -> Option<String> {
    use pulldown_cmark::{CodeBlockKind, Event, Parser, Tag, TagEnd};
    let mut block: Option<String> = None;
    for event in Parser::new(markdown) {
        match event {
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(_))) => block = Some(String::new()),
            Event::Text(text) => {
                if let Some(block) = &mut block {
                    block.push_str(&text);
                }
            }
            Event::End(TagEnd::CodeBlock) if block.is_some() => break,
            _ => {}
        }
    }
    let mut block = block?;
    if !block.ends_with('\n') {
        block.push('\n');
    }
    Some(block)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_stand_apart() {
        let file = Attachment {
            name: "a.rs".into(),
            text: "fn a() {}\n".into(),
        };
        assert_eq!(
            assemble("why?", &[file], "piped\n"),
            "why?\n\na.rs:\n```rs\nfn a() {}\n```\n\npiped"
        );
        assert_eq!(assemble("", &[], "only this\n\n"), "only this\n");
        assert_eq!(assemble("  ", &[], "\n"), "");
    }

    #[test]
    fn a_fence_cannot_be_closed_by_the_file() {
        let file = Attachment {
            name: "a.md".into(),
            text: "````\nx\n````".into(),
        };
        assert!(assemble("", &[file], "").starts_with("a.md:\n`````md\n````\n"));
    }

    #[test]
    fn the_first_code_block_is_found() {
        let reply = "Here:\n\n```sh\necho '```'\nls\n```\n\n```\nsecond\n```\n";
        assert_eq!(first_code_block(reply).unwrap(), "echo '```'\nls\n");
        assert_eq!(first_code_block("no code, only `inline`"), None);
        assert_eq!(first_code_block("```\ncut").unwrap(), "cut\n");
        assert_eq!(
            first_code_block("1. step\n\n   ```\n   in a list\n   ```\n").unwrap(),
            "in a list\n"
        );
    }
}
