"""MapGlue: tie points across modalities by saliency, semantic context, a dual graph and attention."""
