"""Tables, figures and the page of campaigns of rates."""
