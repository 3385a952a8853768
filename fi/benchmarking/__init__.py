"""How fast the engines are, beside a plain forward."""
