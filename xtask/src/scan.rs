//! A small scanner for Rust sources: enough to know code from comments and strings, to find
//! the ends of functions, and to tell test code apart. It does not parse Rust.

#[cfg(test)]
mod tests;

/// A source whose comments and literals are blanked out; offsets and lines are unchanged.
pub struct Source {
    code: Vec<u8>,
    /// Byte ranges of items under `#[cfg(test)]`.
    tests: Vec<(usize, usize)>,
    /// Offset of the start of each line.
    lines: Vec<usize>,
}

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    pub name: String,
    /// Line of the `fn` keyword, from 1.
    pub line: usize,
    /// Lines from the `fn` keyword to the closing brace, both included.
    pub length: usize,
}

impl Source {
    /// Scans `text` once.
    pub fn new(text: &str) -> Self {
        let code = blank(text.as_bytes());
        let mut lines = vec![0];
        lines.extend(code.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(at, _)| at + 1));
        if lines.last() == Some(&code.len()) {
            lines.pop();
        }
        let tests = test_regions(&code);
        Self { code, tests, lines }
    }

    /// Lines that belong to no test item.
    pub fn lines_outside_tests(&self) -> usize {
        self.lines.iter().filter(|start| !self.in_tests(**start)).count()
    }

    /// Functions outside test items, in order.
    pub fn functions(&self) -> Vec<Function> {
        let mut found = Vec::new();
        for at in words(&self.code, b"fn") {
            if self.in_tests(at) {
                continue;
            }
            let Some(name) = identifier_after(&self.code, at + 2) else {
                continue; // a function pointer type
            };
            let Some(Stop::Open(open)) = item_stop(&self.code, at) else {
                continue; // a signature without a body
            };
            let end = matching_brace(&self.code, open);
            let (first, last) = (self.line_of(at), self.line_of(end));
            found.push(Function { name, line: first, length: last + 1 - first });
        }
        found
    }

    /// Lines, from 1, on which `needle` stands in code outside test items.
    pub fn lines_with(&self, needle: &str) -> Vec<usize> {
        let needle = needle.as_bytes();
        let mut found: Vec<usize> = (0..self.code.len())
            .filter(|at| self.code[*at..].starts_with(needle) && !self.in_tests(*at))
            .map(|at| self.line_of(at))
            .collect();
        found.dedup();
        found
    }

    fn line_of(&self, at: usize) -> usize {
        self.lines.partition_point(|start| *start <= at)
    }

    fn in_tests(&self, at: usize) -> bool {
        self.tests.iter().any(|(from, to)| (*from..*to).contains(&at))
    }
}

/// Replaces comments, strings and character literals by spaces.
fn blank(text: &[u8]) -> Vec<u8> {
    let mut code = text.to_vec();
    let mut at = 0;
    while at < text.len() {
        let end = literal_end(text, at);
        if end == at {
            at += 1;
            continue;
        }
        let end = end.min(text.len());
        for byte in &mut code[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    code
}

/// The end of the comment or literal that starts at `at`, or `at` when none does.
fn literal_end(text: &[u8], at: usize) -> usize {
    let rest = &text[at..];
    if rest.starts_with(b"//") {
        return at + rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
    }
    if rest.starts_with(b"/*") {
        return block_comment_end(text, at);
    }
    match rest.first() {
        Some(b'"') => string_end(text, at + 1),
        Some(b'\'') => character_end(text, at),
        Some(b'r') => raw_string_end(text, at),
        _ => at,
    }
}

fn block_comment_end(text: &[u8], at: usize) -> usize {
    let (mut at, mut depth) = (at, 0_usize);
    while at < text.len() {
        if text[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    at
}

/// `at` stands behind the opening quote.
fn string_end(text: &[u8], mut at: usize) -> usize {
    while at < text.len() {
        match text[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    at
}

/// A quote opens a character literal or a lifetime; a lifetime is left as it is.
fn character_end(text: &[u8], at: usize) -> usize {
    let Some(first) = text.get(at + 1) else {
        return at;
    };
    if *first == b'\\' {
        let mut end = at + 3;
        while end < text.len() && text[end] != b'\'' {
            end += 1;
        }
        return end + 1;
    }
    let width = match first {
        0xf0.. => 4,
        0xe0.. => 3,
        0xc0.. => 2,
        _ => 1,
    };
    if text.get(at + 1 + width) == Some(&b'\'') { at + width + 2 } else { at }
}

/// `r"..."`, `r#"..."#`, also behind `b` and `c`; a raw identifier is left as it is.
fn raw_string_end(text: &[u8], at: usize) -> usize {
    let prefixed = at > 0 && matches!(text[at - 1], b'b' | b'c');
    let before = at.checked_sub(if prefixed { 2 } else { 1 }).and_then(|place| text.get(place));
    if before.is_some_and(|byte| is_word(*byte)) {
        return at;
    }
    let hashes = text[at + 1..].iter().take_while(|byte| **byte == b'#').count();
    let open = at + 1 + hashes;
    if text.get(open) != Some(&b'"') {
        return at;
    }
    let mut close = vec![b'"'];
    close.resize(hashes + 1, b'#');
    let mut end = open + 1;
    while end < text.len() && !text[end..].starts_with(&close) {
        end += 1;
    }
    end + close.len()
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// Offsets at which `word` stands as a whole word.
fn words<'a>(code: &'a [u8], word: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    (0..code.len()).filter(move |at| {
        code[*at..].starts_with(word)
            && !at.checked_sub(1).is_some_and(|before| is_word(code[before]) || code[before] == b'#')
            && !code.get(at + word.len()).is_some_and(|byte| is_word(*byte))
    })
}

fn identifier_after(code: &[u8], at: usize) -> Option<String> {
    let rest = code.get(at..)?;
    let start = rest.iter().position(|byte| !byte.is_ascii_whitespace())?;
    let name: Vec<u8> =
        rest[start..].iter().copied().take_while(|byte| is_word(*byte) || *byte == b'#').collect();
    if name.is_empty() { None } else { Some(String::from_utf8_lossy(&name).into_owned()) }
}

enum Stop {
    Open(usize),
    Semicolon(usize),
    Close(usize),
}

/// Where the head of an item ends: its opening brace, a semicolon, or the end of its surroundings.
fn item_stop(code: &[u8], from: usize) -> Option<Stop> {
    let mut depth = 0_usize;
    for (at, byte) in code.iter().enumerate().skip(from) {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' if depth > 0 => depth -= 1,
            b')' | b']' | b'}' if depth == 0 => return Some(Stop::Close(at)),
            b'{' if depth == 0 => return Some(Stop::Open(at)),
            b';' if depth == 0 => return Some(Stop::Semicolon(at)),
            _ => {}
        }
    }
    None
}

/// The offset of the brace that closes the one at `open`; the last byte when none does.
fn matching_brace(code: &[u8], open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in code.iter().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    return at;
                }
            }
            _ => {}
        }
    }
    code.len().saturating_sub(1)
}

/// Items under `#[cfg(test)]` or `#[cfg(all(test, ...))]`; the whole file under `#![cfg(test)]`.
fn test_regions(code: &[u8]) -> Vec<(usize, usize)> {
    let mut regions: Vec<(usize, usize)> = Vec::new();
    for at in 0..code.len() {
        if regions.last().is_some_and(|(_, end)| at < *end) {
            continue;
        }
        let rest = &code[at..];
        if rest.starts_with(b"#![cfg(test)]") {
            return vec![(0, code.len())];
        }
        if !rest.starts_with(b"#[cfg(test)]") && !rest.starts_with(b"#[cfg(all(test,") {
            continue;
        }
        let line = code[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let end = match item_stop(code, at) {
            Some(Stop::Open(open)) => matching_brace(code, open) + 1,
            Some(Stop::Semicolon(semicolon)) => semicolon + 1,
            Some(Stop::Close(close)) => close,
            None => code.len(),
        };
        regions.push((line, end));
    }
    regions
}
