"""`python -m unlearnbench`, and the installed command: signals first, then all the rest."""

from unlearnbench import signals

signals.install()

from unlearnbench.cli import main  # noqa: E402

if __name__ == "__main__":
    main()
