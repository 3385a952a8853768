"""What the commands share: parser, options, and how errors are told."""
