"""`python -m serve_app.cli`."""

from serve_app.cli.main import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
