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
    let extension = file
        .name
        .rsplit_once('.')
        .map_or("", |(_, extension)| extension);
    format!("{}:\n{}", file.name, fence(extension, &file.text))
}

/// A code block with this text.
pub fn fence(language: &str, text: &str) -> String {
    // A fence that is longer than any run of backticks in the text cannot be closed by it.
    let longest = text
        .split(|character| character != '`')
        .map(str::len)
        .max()
        .unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    let language = if language.chars().all(|c| c.is_ascii_alphanumeric()) {
        language
    } else {
        ""
    };
    let text = text.strip_suffix('\n').unwrap_or(text);
    format!("{fence}{language}\n{text}\n{fence}")
}

/// The content of the first fenced code block of a reply, with a final line feed. A block that
/// the reply breaks off in ends there.
///
/// Not done with a Markdown parser: the tables of the one there is are a tenth of what is
/// relocated at every start of the program, and fences are the whole of what is needed.
pub fn first_code_block(markdown: &str) -> Option<String> {
    let mut lines = markdown.lines();
    let fence = lines.find_map(Fence::opened_by)?;
    let mut block = String::new();
    for line in lines.take_while(|line| !fence.is_closed_by(line)) {
        block.push_str(fence.without_indent(line));
        block.push('\n');
    }
    Some(block)
}

/// The line that opens a code block: what closes it, and how far its lines are indented.
struct Fence {
    mark: char,
    length: usize,
    column: usize,
}

impl Fence {
    /// Three or more backticks or tildes, perhaps behind the marker of a list.
    fn opened_by(line: &str) -> Option<Self> {
        let mut rest = line.trim_start_matches(' ');
        let marker = rest.trim_start_matches(|character: char| character.is_ascii_digit());
        if let Some(item) = marker.strip_prefix(['-', '*', '+', '.', ')'])
            && item.starts_with(' ')
        {
            rest = item.trim_start_matches(' ');
        }
        let mark = rest
            .chars()
            .next()
            .filter(|mark| matches!(mark, '`' | '~'))?;
        let info = rest.trim_start_matches(mark);
        let length = rest.len() - info.len();
        // Backticks behind backticks are code inside a line.
        let opens = length >= 3 && !(mark == '`' && info.contains('`'));
        opens.then_some(Self {
            mark,
            length,
            column: line.len() - rest.len(),
        })
    }

    fn is_closed_by(&self, line: &str) -> bool {
        let line = line.trim();
        line.len() >= self.length && line.chars().all(|character| character == self.mark)
    }

    fn without_indent<'a>(&self, line: &'a str) -> &'a str {
        let spaces = line.len() - line.trim_start_matches(' ').len();
        &line[spaces.min(self.column)..]
    }
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
        assert_eq!(
            first_code_block("no code, only `inline` and ```this```"),
            None
        );
        assert_eq!(
            first_code_block("~~~~ awk\n~~~\n  x\n~~~~\n").unwrap(),
            "~~~\n  x\n"
        );
        assert_eq!(first_code_block("- ```sh\n  ls\n  ```\n").unwrap(), "ls\n");
        assert_eq!(first_code_block("```\ncut").unwrap(), "cut\n");
        assert_eq!(
            first_code_block("1. step\n\n   ```\n   in a list\n   ```\n").unwrap(),
            "in a list\n"
        );
    }
}
