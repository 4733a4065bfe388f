//! The known word that an operator probably meant.

/// Longer words are no typing errors, and the table of distances stays small.
const BYTES_MAX: usize = 64;

/// The nearest of `known`, if one is near enough to be worth naming.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > BYTES_MAX {
        return None;
    }
    let word = word.to_ascii_lowercase().replace('-', "_");
    known
        .into_iter()
        .map(|candidate| (distance(&word, &candidate.to_ascii_lowercase()), candidate))
        .filter(|(distance, candidate)| {
            *distance <= tolerance(candidate) || abbreviates(&word, candidate)
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `a, b, c`, for the sentence that lists what would be accepted.
pub fn list<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    words.into_iter().collect::<Vec<_>>().join(", ")
}

fn tolerance(word: &str) -> usize {
    (word.chars().count() / 3).clamp(1, 3)
}

/// `cert_file` for `certificate_file`: part by part, one begins with the other.
fn abbreviates(word: &str, candidate: &str) -> bool {
    let (word, candidate): (Vec<_>, Vec<_>) =
        (word.split('_').collect(), candidate.split('_').collect());
    let alike = |(a, b): (&&str, &&str)| {
        a == b || a.len().min(b.len()) >= 3 && (a.starts_with(*b) || b.starts_with(*a))
    };
    word.len() == candidate.len() && word.iter().zip(&candidate).all(alike)
}

/// Edits that turn one word into the other (Levenshtein), a swap of neighbours counted as one.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut table = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            table[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let substituted = table[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                let edited = substituted
                    .min(table[i - 1][j] + 1)
                    .min(table[i][j - 1] + 1);
                match swapped {
                    true => edited.min(table[i - 2][j - 2] + 1),
                    false => edited,
                }
            };
        }
    }
    table[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 6] = [
        "certificate_file",
        "certificate",
        "key_file",
        "key",
        "listen",
        "idle_timeout",
    ];

    #[test]
    fn typing_errors_and_abbreviations_find_the_known_word() {
        for (word, expected) in [
            ("lsiten", "listen"),
            ("listne", "listen"),
            ("cert_file", "certificate_file"),
            ("cert", "certificate"),
            ("keyfile", "key_file"),
            ("idle-timeout", "idle_timeout"),
            ("IdleTimeout", "idle_timeout"),
            ("idle_time", "idle_timeout"),
        ] {
            assert_eq!(nearest(word, KNOWN), Some(expected), "{word}");
        }
    }

    #[test]
    fn unrelated_words_find_nothing() {
        for word in ["proxy_protocol", "x", "", &"listen".repeat(100)] {
            assert_eq!(nearest(word, KNOWN), None, "{word}");
        }
    }
}
