//! Patterns with `*` and `?`, and the variables that policies put into them.

/// A piece of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Char(char),
    /// `?`.
    One,
    /// `*`.
    Many,
    /// `${name}`.
    Variable(String),
}

/// A pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Vec<Part>);

impl Pattern {
    /// `*` and `?` stand for many characters and for one; all else for itself.
    pub fn new(text: &str) -> Self {
        Self(text.chars().map(wild).collect())
    }

    /// Every character stands for itself.
    pub fn literal(text: &str) -> Self {
        Self(text.chars().map(Part::Char).collect())
    }

    /// As [`Self::new`] or [`Self::literal`], with `${name}` for variables; `${*}`, `${?}` and `${$}` are the
    /// characters themselves.
    ///
    /// # Errors
    /// The name of a variable that `known` does not know, or the text of one that does not end.
    pub fn with_variables(text: &str, wildcards: bool, known: impl Fn(&str) -> bool) -> Result<Self, String> {
        let (mut parts, mut rest) = (Vec::new(), text);
        let plain = |text: &str, parts: &mut Vec<Part>| {
            parts.extend(text.chars().map(if wildcards { wild } else { Part::Char }));
        };
        while let Some((before, after)) = rest.split_once("${") {
            plain(before, &mut parts);
            let (name, behind) = after.split_once('}').ok_or_else(|| format!("${{{after}"))?;
            parts.push(match name {
                "*" | "?" | "$" => Part::Char(name.chars().next().unwrap_or('$')),
                name if known(&name.to_ascii_lowercase()) => Part::Variable(name.to_ascii_lowercase()),
                name => return Err(format!("${{{name}}}")),
            });
            rest = behind;
        }
        plain(rest, &mut parts);
        Ok(Self(parts))
    }

    /// Whether it has no wildcard and no variable.
    pub fn is_literal(&self) -> bool {
        self.0.iter().all(|p| matches!(p, Part::Char(_)))
    }

    /// Whether a text matches; a pattern with a variable matches nothing here.
    pub fn matches(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        matches(&self.0, &text)
    }

    /// Whether a text matches once variables have their values. One without a value matches nothing.
    pub fn matches_with<'a>(&self, text: &str, value: impl Fn(&str) -> Option<&'a str>) -> bool {
        if !self.0.iter().any(|p| matches!(p, Part::Variable(_))) {
            return self.matches(text);
        }
        let mut parts = Vec::with_capacity(self.0.len());
        for part in &self.0 {
            match part {
                Part::Variable(name) => match value(name) {
                    Some(value) => parts.extend(value.chars().map(Part::Char)),
                    None => return false,
                },
                part => parts.push(part.clone()),
            }
        }
        let text: Vec<char> = text.chars().collect();
        matches(&parts, &text)
    }

    /// Whether some text that begins with `start` matches; a variable may stand for anything.
    pub fn can_begin(&self, start: &str) -> bool {
        !self.after(start).is_empty()
    }

    /// Whether this very text can match; a variable may stand for anything.
    pub fn can_be(&self, text: &str) -> bool {
        self.after(text).contains(&self.0.len())
    }

    /// Places in the pattern where one can be after this text.
    fn after(&self, text: &str) -> std::collections::BTreeSet<usize> {
        let many = |i: usize| matches!(self.0.get(i), Some(Part::Many | Part::Variable(_)));
        let settle = |mut places: std::collections::BTreeSet<usize>| {
            let mut open: Vec<usize> = places.iter().copied().collect();
            while let Some(i) = open.pop() {
                if many(i) && places.insert(i + 1) {
                    open.push(i + 1);
                }
            }
            places
        };
        let mut places = settle([0].into());
        for c in text.chars() {
            let step = |i: usize| match self.0.get(i) {
                Some(Part::Char(wanted)) if *wanted == c => Some(i + 1),
                Some(Part::One) => Some(i + 1),
                Some(Part::Many | Part::Variable(_)) => Some(i),
                _ => None,
            };
            places = settle(places.into_iter().filter_map(step).collect());
        }
        places
    }
}

fn wild(c: char) -> Part {
    match c {
        '*' => Part::Many,
        '?' => Part::One,
        c => Part::Char(c),
    }
}

/// Goes back to the last `*` only, which suffices: at most pattern times text steps.
fn matches(parts: &[Part], text: &[char]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while t < text.len() {
        match parts.get(p) {
            Some(Part::Many) => {
                back = Some((p, t));
                p += 1;
                continue;
            }
            Some(Part::One) => (p, t) = (p + 1, t + 1),
            Some(Part::Char(c)) if *c == text[t] => (p, t) = (p + 1, t + 1),
            _ => match back {
                Some((star, from)) => {
                    back = Some((star, from + 1));
                    (p, t) = (star + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    parts[p.min(parts.len())..].iter().all(|part| *part == Part::Many)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn stars_and_questions() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abbd", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*ab*ab", "abxabab", true),
            ("", "", true),
            ("", "x", false),
            ("b/*", "b/", true),
        ] {
            assert_eq!(Pattern::new(pattern).matches(text), expected, "{pattern} {text}");
        }
        assert!(!Pattern::literal("a*").matches("ab"));
        assert!(Pattern::literal("a*").matches("a*"));
    }

    #[test]
    fn variables_stand_for_their_value_and_not_for_a_pattern() {
        let p = Pattern::with_variables("home/${aws:UserName}/*", true, |n| n == "aws:username").unwrap();
        assert!(p.matches_with("home/ann/x", |_| Some("ann")));
        assert!(!p.matches_with("home/bob/x", |_| Some("*")));
        assert!(!p.matches_with("home/ann/x", |_| None));
        assert_eq!(Pattern::with_variables("${what}", true, |_| false), Err("${what}".into()));
        assert!(Pattern::with_variables("a${", true, |_| true).is_err());
        assert!(Pattern::with_variables("${*}", true, |_| false).unwrap().matches("*"));
    }

    #[test]
    fn beginnings() {
        assert!(Pattern::new("buck*").can_begin("bucket/"));
        assert!(!Pattern::new("buck").can_begin("bucket/"));
        assert!(Pattern::new("*/x").can_begin("bucket/"));
        assert!(!Pattern::new("other/*").can_begin("bucket/"));
        assert!(Pattern::new("bucket").can_be("bucket"));
        assert!(!Pattern::new("bucket/*").can_be("bucket"));
    }

    fn slow(p: &[char], t: &[char]) -> bool {
        match (p.first(), t.first()) {
            (None, None) => true,
            (Some('*'), _) => slow(&p[1..], t) || (!t.is_empty() && slow(p, &t[1..])),
            (Some('?'), Some(_)) => slow(&p[1..], &t[1..]),
            (Some(a), Some(b)) if a == b => slow(&p[1..], &t[1..]),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_plain_definition(p in "[ab*?]{0,8}", t in "[ab]{0,8}") {
            let (pc, tc): (Vec<char>, Vec<char>) = (p.chars().collect(), t.chars().collect());
            let expected = slow(&pc, &tc);
            prop_assert_eq!(Pattern::new(&p).matches(&t), expected);
            prop_assert_eq!(Pattern::new(&p).can_be(&t), expected);
            prop_assert!(!expected || Pattern::new(&p).can_begin(&t));
        }
    }
}
