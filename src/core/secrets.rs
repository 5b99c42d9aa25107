//! Secrets within addresses: taken from the environment or from a file, so that no list of processes shows them.

/// Replaces `${NAME}` by the value of an environment variable, and `${file:PATH}` by the first line of a file.
///
/// # Errors
/// A line that says which of them is missing.
pub fn expand(text: &str) -> Result<String, String> {
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once("${") {
        let Some((name, after)) = after.split_once('}') else { break };
        out.push_str(before);
        out.push_str(&value_of(name)?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

fn value_of(name: &str) -> Result<String, String> {
    if let Some(path) = name.strip_prefix("file:") {
        let text = std::fs::read_to_string(path).map_err(|error| format!("'{path}': {error}"))?;
        return Ok(text.lines().next().unwrap_or_default().trim().to_owned());
    }
    std::env::var(name).map_err(|_| format!("the environment variable '{name}' is not set"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_come_from_the_environment_and_from_files() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key");
        std::fs::write(&key, "live_123\nmore\n").unwrap();
        let address = format!("rtmp://host/app/${{file:{}}}?x=1", key.display());
        assert_eq!(expand(&address).as_deref(), Ok("rtmp://host/app/live_123?x=1"));
        let path = std::env::var("PATH").unwrap();
        assert_eq!(expand("a${PATH}b${PATH}"), Ok(format!("a{path}b{path}")));
        for plain in ["a.mp4", "$HOME ${", "{x}", "a$b}"] {
            assert_eq!(expand(plain).as_deref(), Ok(plain));
        }
        assert!(expand("${NO_SUCH_NAME_HERE}").unwrap_err().contains("NO_SUCH_NAME_HERE"));
        assert!(expand("${file:/no/such/file}").unwrap_err().contains("/no/such/file"));
    }
}
